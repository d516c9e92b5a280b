"""What a run started from the terminal asks of the libraries; a worker's settings are those of its deployment."""

import logging
import os
import warnings

from tasks.training.launch import SHORT_SPIN


def for_terminal() -> None:
    """Quiet and fast on a machine of one's own. Call it before torch and Prefect are imported: they read it then."""
    for name, value in SHORT_SPIN.items():
        os.environ.setdefault(name, value)
    # The ephemeral server reports usage, and logs an error where there is no network.
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # It starts in 5 to 13 s, and on a machine with other work not within Prefect's 20.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    # The terminal tells each step itself, and an error once; the server still gets the whole log.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    warnings.filterwarnings("ignore", category=FutureWarning)  # of the libraries to one another
    # It misses an optional kernel package at every start on a CPU.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
