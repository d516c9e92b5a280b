"""The service on SQLite or on PostgreSQL; one for all tests of a file."""

import glob
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.production.service import Service, free_port, served


def pytest_generate_tests(metafunc) -> None:
    """On the database that a file names, so that CI stays short; on those of REGROUND_DATABASES=sqlite,postgresql."""
    if "service" in metafunc.fixturenames:
        asked = os.environ.get("REGROUND_DATABASES", metafunc.module.DATABASE)
        metafunc.parametrize("service", asked.split(","), indirect=True, scope="module")


@pytest.fixture(scope="module")
def service(request, tmp_path_factory, alerts) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp(request.param)
    database = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    words = (*getattr(request.module, "WORDS", ()), "--notify", alerts.url)
    with served(folder, database=database, words=words) as running:
        yield running


class Alerts(list[dict[str, str]]):
    """What the service's alerts said, as a webhook's receiver has them: {"subject", "text"}."""

    url = ""


@pytest.fixture(scope="module")
def alerts() -> Iterator[Alerts]:
    received = Alerts()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        received.url = f"http://127.0.0.1:{server.server_port}/alerts"
        Thread(target=server.serve_forever, daemon=True).start()
        yield received
        server.shutdown()


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory) -> Iterator[str]:
    """The URL of a PostgreSQL of the tests' own, in a folder of their own."""
    binaries = _postgresql()
    if not binaries:
        pytest.skip("there is no PostgreSQL here: `apt-get install postgresql`")
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        who = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}  # it refuses to run as root
        if who:
            shutil.chown(name, **who)
        run = partial(subprocess.run, check=True, capture_output=True, cwd=name, **who)
        run([binaries / "initdb", "--pgdata", f"{name}/data", "--auth", "trust", "--username", "postgres"])
        port = free_port()
        options = f"-p {port} -k {name} -h 127.0.0.1"
        run([binaries / "pg_ctl", "-D", f"{name}/data", "-o", options, "-l", f"{name}/log", "-w", "start"])
        try:
            yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
        finally:
            run([binaries / "pg_ctl", "-D", f"{name}/data", "-m", "immediate", "-w", "stop"])


def _postgresql() -> Path | None:
    """The folder of initdb and pg_ctl; Debian keeps them off the path."""
    found = shutil.which("initdb") or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))), None)
    return Path(found).resolve().parent if found else None
