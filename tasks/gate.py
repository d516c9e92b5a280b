"""gate: whether the new adapter may be promoted, rule by rule, each with its reason."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import Field

from tasks.engine import Config, step
from tasks.evaluation.gating.compare import compare, require_same_rows
from tasks.evaluation.gating.decision import decide
from tasks.evaluation.gating.rules import Rule, default_rules, parity_rules
from tasks.evaluation.gating.verdicts import Verdict, judge, untested
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.statistics import MIN_CLUSTERS
from tasks.text import LANGUAGE_FILES

Comparisons = Mapping[str, Sequence[dict[str, Any]] | None]  # against → an entry per metric


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
    """The rules, and what only the flow can tell."""

    champion_missing: str | None = None  # why the champion there is could not answer these rows


@step(libraries=("numpy", "pyarrow", "scipy"), resources=LANGUAGE_FILES)
def gate(
    config: GateConfig,
    *,
    base_scores: Path,
    tuned_scores: Path,
    champion_scores: Path | None = None,
    shipped_scores: Path | None = None,
    out: Path,
) -> None:
    """Compare the tuned model with the base, with the champion if there is one, and with itself as it ships.

    All are the score step's folders, of the same rows. Writes gate.json: the decision (promote, refuse, undecided) and
    why, a verdict per rule, and the comparisons in full. Raises UserError if the scores are of different rows, or of
    other documents.
    """
    tuned = Scores.read(tuned_scores / "scores.arrow")
    pairs = {
        "base": (base_scores, "base", "tuned"),
        "champion": (champion_scores, "champion", "tuned"),
        "trained": (shipped_scores, "trained", "shipped"),
    }
    comparisons: dict[str, list[dict[str, Any]] | None] = dict.fromkeys(pairs)
    for against, (folder, *names) in pairs.items():
        if folder:
            other = Scores.read(folder / "scores.arrow")
            require_same_rows(other, tuned, (folder, tuned_scores))
            first, second = (tuned, other) if against == "trained" else (other, tuned)
            comparisons[against] = compare(
                first, second, (names[0], names[1]), resamples=config.resamples, seed=config.seed
            )
    verdicts = judge_all(config, comparisons)
    decision, why = decide(verdicts, config.champion_missing)
    told = {
        "decision": decision,
        "why": why,
        "verdicts": verdicts,
        "comparisons": comparisons,
        "settings": config.model_dump(mode="json") | {"min_clusters": MIN_CLUSTERS},
    }
    (out / "gate.json").write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def judge_all(config: GateConfig, comparisons: Comparisons) -> list[Verdict]:
    """The verdicts against each system that the tuned model was compared with."""
    verdicts: list[Verdict] = []
    for against, entries in comparisons.items():
        rules = [rule for rule in config.rules if rule.judges(against)]
        if against == "champion" and config.champion_missing:
            verdicts += untested(rules, against, config.champion_missing)
        elif entries and against == "trained":
            verdicts += judge(parity_rules(config.parity_margin), entries, against, "all")
        elif entries:
            verdicts += judge(rules, entries, against, config.better)
    return verdicts
