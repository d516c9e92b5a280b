"""Whether the evaluation set is large enough for the gate's rules to show what they ask for, before anything runs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson

from flows import wording
from flows.config import Retrain
from flows.doctor.findings import Finding, note, ok
from flows.promotion.log import read_state
from tasks.engine.errors import UserError
from tasks.evaluation.gating.decision import Against, Decision
from tasks.evaluation.gating.power import Power, power
from tasks.evaluation.statistics import POWER

if TYPE_CHECKING:
    from tasks.engine.plan import Planner


def planned_power(config: Retrain, planner: "Planner | None") -> tuple[Against, Power]:
    """How often the rules would promote a true gain over the champion, or over the base while there is none.

    From the dataset and the scores of the plan, or of the run before it; nothing is counted or scored for it.
    """
    at_hand = {each.label: each.artifact or each.before for each in planner.steps} if planner else {}
    dataset, gate = at_hand.get("build"), at_hand.get("gate")
    size = None
    if dataset:
        counted = orjson.loads((dataset.store.fetch(dataset, ["report.json"]) / "report.json").read_bytes())
        size = counted["documents"]["evaluation"], counted["rows"]["evaluation"]
    comparisons = Decision.read(gate.store.fetch(gate, ["gate.json"]) / "gate.json").comparisons if gate else {}
    against: Against = "champion" if planner and read_state(planner.store).champion else "base"
    rules = [rule for rule in config.gate.rules if rule.judges(against)]
    compared, measured = comparisons.get(against) or comparisons.get("base"), bool(comparisons.get(against))
    return against, power(rules, config.gate.better, compared, measured=measured, size=size)


def evaluation(config: Retrain) -> Iterator[Finding]:
    from flows.pipeline import planned

    try:
        planner = planned(config)[0]
    except UserError:  # a finding of the check that is about it
        planner = None
    against, found = planned_power(config, planner)
    value, remedy = wording.power(found, against)
    enough = found.chance is not None and found.chance >= POWER
    yield ok("evaluation", value) if enough else note("evaluation", value, remedy)
