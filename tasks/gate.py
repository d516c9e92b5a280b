"""gate: whether the new adapter may be promoted, rule by rule, each with its reason."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.engine import Config, step
from tasks.evaluation.gating.compare import compare, require_same_rows
from tasks.evaluation.gating.decision import Against, Comparison, Decision, Verdict
from tasks.evaluation.gating.rules import Rule, default_rules, parity_rules
from tasks.evaluation.gating.verdicts import decide, judge, not_compared
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.statistics import MIN_CLUSTERS
from tasks.reporting.decision import explained
from tasks.text import LANGUAGE_FILES

Comparisons = Mapping[Against, Sequence[Comparison] | None]


class GateRules(Config):
    """What a new adapter must show. A gate that cannot decide does not promote."""

    rules: tuple[Rule, ...] = Field(default_rules(), min_length=1, description="All of them must hold; see `better`.")
    better: Literal["any", "all"] = Field(
        "any", description="Of the rules that say better against one system, one is enough, or all must be shown."
    )
    parity_margin: float = Field(
        0.05,
        ge=0,
        le=1,
        description="How much worse on a primary metric what ships may be than what was trained and compared.",
    )
    resamples: int = Field(10_000, ge=100, description="Bootstrap resamples of the source documents.")
    seed: int = Field(0, description="Seed of the bootstrap.")


class GateConfig(GateRules):
    """The rules, and whether there is a champion that could not be compared."""

    champion_missing: str | None = None  # why there is a champion and it could not answer these rows


@step(libraries=("numpy", "pyarrow", "scipy"), resources=LANGUAGE_FILES)
def gate(
    config: GateConfig,
    *,
    base_scores: Path,
    tuned_scores: Path,
    base_shots_scores: Path | None = None,
    champion_scores: Path | None = None,
    shipped_scores: Path | None = None,
    out: Path,
) -> None:
    """Compare the tuned model with the base, with the champion if there is one, and with itself as it ships.

    The inputs are folders of the score step, for the same rows. Writes gate.json, a `Decision`: promote, refuse or
    undecided, why, a verdict per rule, and the comparisons in full. Raises UserError if the scores are of different
    rows or documents.
    """
    tuned = Scores.read(tuned_scores / "scores.arrow")
    others: dict[Against, Path | None] = {
        "base": base_scores,
        "base_shots": base_shots_scores,
        "champion": champion_scores,
        "trained": shipped_scores,
    }
    comparisons: dict[Against, tuple[Comparison, ...] | None] = dict.fromkeys(others)
    for against, folder in others.items():
        if folder:
            other = Scores.read(folder / "scores.arrow")
            require_same_rows(other, tuned, (folder, tuned_scores))
            first, second, names = other, tuned, (str(against), "tuned")
            if against == "trained":  # the tuned model as it was trained against the same one as it ships
                first, second, names = tuned, other, ("trained", "shipped")
            comparisons[against] = tuple(compare(first, second, names, resamples=config.resamples, seed=config.seed))
    verdicts = judge_all(config, comparisons)
    decision = Decision(
        decision=decide(verdicts, config.champion_missing),
        verdicts=tuple(verdicts),
        champion_missing=config.champion_missing,
        comparisons=comparisons,
        settings=config.model_dump(mode="json") | {"min_clusters": MIN_CLUSTERS},
    )
    explained(decision).write(out / "gate.json")


def judge_all(config: GateConfig, comparisons: Comparisons) -> list[Verdict]:
    """The verdicts against each system that the tuned model was compared with."""
    verdicts: list[Verdict] = []
    for against, compared in comparisons.items():
        rules = [rule for rule in config.rules if rule.judges(against)]
        if against == "champion" and config.champion_missing:
            verdicts += not_compared(rules, against)
        elif compared and against == "trained":
            verdicts += judge(parity_rules(config.parity_margin), compared, against, "all")
        elif compared:
            verdicts += judge(rules, compared, against, config.better)
    return verdicts
