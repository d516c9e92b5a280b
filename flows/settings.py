"""What the environment tells Reground, and what a run from the terminal tells the libraries through it.

REGROUND_CONFIG    the config of runs that are started without parameters: by a schedule or an event
REGROUND_STATE     the folder of `reground up`, in place of .reground
REGROUND_ROOTS     where runs may read and write, see `flows.roots`
REGROUND_DATABASE, REGROUND_NOTIFY    options of `reground up`
"""

import logging
import os
import warnings
from pathlib import Path

from tasks.training.launch import SHORT_SPIN

CONFIG, STATE, ROOTS = "REGROUND_CONFIG", "REGROUND_STATE", "REGROUND_ROOTS"


def config_file() -> Path | None:
    return Path(named) if (named := os.environ.get(CONFIG)) else None


def state_folder() -> Path | None:
    return Path(named) if (named := os.environ.get(STATE)) else None


def roots() -> list[str]:
    return [root.strip() for root in os.environ.get(ROOTS, "").split(",") if root.strip()]


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
