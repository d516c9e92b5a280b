"""Every test that asks for a `store` runs on a folder and on a bucket of a real S3 server.

The server is moto's, in a process of its own. To use another, such as MinIO or AWS, name a bucket and give its
endpoint and credentials as ever: `REGROUND_TEST_S3=s3://bucket AWS_ENDPOINT_URL=… AWS_ACCESS_KEY_ID=… make test`.
"""

import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.engine.storage.store import Store
from tests.waiting import wait_until

SERVER = Path(__file__).with_name("s3_server.py")


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A bucket's URL, on a server that answers; the environment knows how to reach it."""
    if url := os.environ.get("REGROUND_TEST_S3"):
        yield url.rstrip("/")
        return
    pytest.importorskip("moto", reason="moto is not installed: make install")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    server = subprocess.Popen([sys.executable, str(SERVER), str(port)], stdout=log, stderr=log)
    wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), server, failed=Path(log.name).read_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import boto3

        boto3.client("s3").create_bucket(Bucket="reground")
        yield "s3://reground"
    server.terminate()
    server.wait(10)


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    """The URL of an empty store."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('s3')}/{secrets.token_hex(4)}"


@pytest.fixture
def store(place, tmp_path):
    return Store(place, cache=tmp_path / "cache", lease_seconds=2)


@pytest.fixture
def bucket_store(s3, tmp_path):
    """A store in a bucket, for what only a bucket has."""
    return Store(f"{s3}/{secrets.token_hex(4)}", cache=tmp_path / "cache", lease_seconds=2)


@pytest.fixture
def rows(tmp_path):
    """A source of one row."""
    path = tmp_path / "rows.txt"
    path.write_text("one row")
    return path
