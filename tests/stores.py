"""Every test that asks for a `store` runs on a folder and on a bucket of a real S3 server.

The server is moto's, which all workers share. To use another, such as MinIO or AWS, name a bucket and give its
endpoint and credentials as ever: `REGROUND_TEST_S3=s3://bucket AWS_ENDPOINT_URL=… AWS_ACCESS_KEY_ID=… make test`.
"""

import os
import secrets
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tasks.engine.storage.store import Store
from tests.shared import once, serve


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A bucket's URL, on a server that answers; the environment knows how to reach it."""
    if url := os.environ.get("REGROUND_TEST_S3"):
        yield url.rstrip("/")
        return
    pytest.importorskip("moto", reason="moto is not installed: make install")
    _, port = once(tmp_path_factory, "s3", _bucket)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield "s3://reground"


def _bucket(folder: Path) -> int:
    """The port of a server with one empty bucket."""
    port = serve(folder, "tests.s3_server")
    urlopen(Request(f"http://127.0.0.1:{port}/reground", method="PUT"))
    return port


def empty(request, tmp_path) -> str:
    """The URL of an empty store, in the place that `request.param` names."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('s3')}/{secrets.token_hex(4)}"


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    return empty(request, tmp_path)


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
