"""What every test may lean on: user state kept apart, and one real Prefect server for those that need it."""

import pytest
from hypothesis import settings

# A first example waits for imports and a busy machine: a property is not timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Caches of this session's own, for its subprocesses too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """A real Prefect server with its own database and home; about 10 s once."""
    from prefect.settings import PREFECT_HOME, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    home = tmp_path_factory.mktemp("prefect")
    settings = {PREFECT_HOME: home, PREFECT_SERVER_ANALYTICS_ENABLED: False}
    with temporary_settings(settings), prefect_test_harness(server_startup_timeout=600):
        yield


@pytest.fixture(scope="module")
def loaded_training():
    """Training children forked from a process that has the libraries already."""
    from tests.loaded import loaded

    with loaded():
        yield
