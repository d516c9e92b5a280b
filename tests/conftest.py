"""What every test may lean on: user state kept apart, and one real Prefect server for those that need it."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.shared import once, serve

# A first example waits for imports and a busy machine: a property is not timed.
settings.register_profile("untimed", deadline=None, max_examples=int(os.environ.get("REGROUND_EXAMPLES", 25)))
settings.load_profile("untimed")

# Toys are so small that a second thread would only wait for the first, at full speed; in the processes of tests, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A test run starts hundreds of processes: each would compile the libraries anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Caches of this session's own, for its subprocesses too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


# What no test waits for: each wakes up every few seconds.
IDLE = "SCHEDULER LATE_RUNS FOREMAN TRIGGERS CANCELLATION_CLEANUP PAUSE_EXPIRATIONS REPOSSESSOR CLEANUP_RECONCILER"


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """A real Prefect server for all workers of a test run, who have each a home of their own; about 10 s once."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    def start(folder: Path) -> int:
        settings = {
            "PREFECT_HOME": str(folder),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_UI_ENABLED": "false",
            **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE.split()},
        }
        server = "--factory prefect.server.api.server:create_app --host 127.0.0.1 --log-level error --port"
        return serve(folder, "uvicorn", *server.split(), **settings)

    _, port = once(tmp_path_factory, "prefect", start)
    home = tmp_path_factory.mktemp("prefect")
    with temporary_settings({PREFECT_HOME: home, PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        yield


@pytest.fixture(scope="module")
def loaded_training():
    """Training children forked from a process that has the libraries already."""
    from tests.loaded import loaded

    with loaded():
        yield
