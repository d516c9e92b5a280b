"""All that imports prefect, besides the flows themselves."""

import sys


def flow_run_id() -> str | None:
    """The id of the Prefect flow run that this is, if it is one."""
    if "prefect" not in sys.modules:  # then it is none, and importing it takes over a second
        return None
    from prefect.runtime import flow_run

    found: str | None = flow_run.get_id()
    return found
