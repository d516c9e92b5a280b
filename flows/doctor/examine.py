"""Every topic in order, each on its own: what one check cannot find out is told, and the next goes on."""

from collections.abc import Iterator

from flows.config import Retrain
from flows.doctor import data, fit, gpu, hub, libraries, machine, server, store
from flows.doctor.finding import Check, Finding, bad
from tasks.engine.errors import UserError

TOPICS: dict[str, Check] = {
    "libraries": libraries.check,
    "machine": machine.check,
    "GPU": gpu.check,
    "memory": fit.check,
    "base model": hub.check,
    "data": data.check,
    "store": store.check,
    "Prefect": server.check,
}


def examine(config: Retrain, topics: dict[str, Check] = TOPICS) -> Iterator[tuple[str, Finding]]:
    """(topic, finding) as they are found. A check that raises is a finding as well, and ends no other."""
    for topic, check in topics.items():
        try:
            for finding in check(config):
                yield topic, finding
        except UserError as error:
            yield topic, bad(topic, error.what, error.remedy)
        except Exception as error:  # whatever a library raises on a machine that is not as it should be
            first = str(error).strip().partition("\n")[0]
            said = f"{type(error).__name__}: {first}"
            yield topic, bad(topic, said, "mend what the error names; the other checks stand")
