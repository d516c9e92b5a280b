"""The table of checks, and how it is run: what one check cannot find out is a finding, and the next goes on."""

from collections.abc import Iterator, Mapping

from flows.config import Retrain
from flows.doctor import evaluation, machine, training
from flows.doctor.findings import Check, Finding, bad
from flows.orchestration.service import health
from tasks.engine.errors import UserError

CHECKS: dict[str, Check] = {
    "libraries": machine.libraries,
    "machine": machine.machine,
    "GPU": machine.gpu,
    "memory": training.memory,
    "base model": training.base_and_template,
    "data": training.data,
    "evaluation": evaluation.evaluation,
    "store": machine.store,
    "Prefect": health.prefect,
}


def examine(config: Retrain, checks: Mapping[str, Check] = CHECKS) -> Iterator[tuple[str, Finding]]:
    """(topic, finding) as they are found. A check that raises is a finding as well, and ends no other."""
    for topic, check in checks.items():
        try:
            for finding in check(config):
                yield topic, finding
        except UserError as error:
            yield topic, bad(topic, error.what, error.remedy)
        except Exception as error:  # whatever a library raises on a machine that is not as it should be
            first = str(error).strip().partition("\n")[0]
            value = f"{type(error).__name__}: {first}"
            yield topic, bad(topic, value, "fix what the error names; the other checks are complete")
