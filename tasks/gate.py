"""gate: whether the new adapter may be promoted, rule by rule, each with its reason."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import orjson
from pydantic import Field

from tasks.data.triplets import read_triplets
from tasks.engine import Config, step
from tasks.evaluation.gating.compare import compare, require_same_rows
from tasks.evaluation.gating.decision import Against, Comparison, Decision, Forgetting, Verdict
from tasks.evaluation.gating.questions import read_questions
from tasks.evaluation.gating.rules import Rule, default_rules, parity_rules
from tasks.evaluation.gating.verdicts import decide, flips_at_most, forgetting_at_most, judge, not_compared
from tasks.evaluation.gating.verdicts import must_hold as must_hold_verdict
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.statistics import MIN_CLUSTERS, Estimate, cluster_codes, estimate, weighted_sums
from tasks.reporting.decision import explained
from tasks.reporting.outcomes import GOOD, flips, losses, outcomes
from tasks.text import LANGUAGE_FILES

READS = 6.0  # nats per token on the general text; SmolLM2-135M has 3.4, the sample's base, which cannot read it, 8.9
Comparisons = Mapping[Against, Sequence[Comparison] | None]


class GateRules(Config):
    """What a new adapter must show. A gate that cannot decide does not promote."""

    rules: tuple[Rule, ...] = Field(default_rules(), min_length=1, description="All of them must hold; see `better`.")
    better: Literal["any", "all"] = Field(
        "any", description="Of the rules that say better against one system, one is enough, or all must be shown."
    )
    max_flips: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Of the questions that the champion (without one, the base) dealt with rightly, the greatest share "
        "that may be lost, by its whole interval. Without it, only averages decide.",
    )
    max_forgetting: float | None = Field(
        None,
        ge=0,
        description="By how many nats per token the loss on a general text (tasks/models/general.txt) may rise "
        "against the base. Without it, a rise of 0.1 is warned of.",
    )
    parity_margin: float = Field(
        0.05,
        ge=0,
        le=1,
        description="How much worse on a primary metric what ships may be than what was trained and compared.",
    )
    resamples: int = Field(10_000, ge=100, description="Bootstrap resamples of the source documents.")
    seed: int = Field(0, description="Seed of the bootstrap.")

    @property
    def best_in(self) -> tuple[str, ...]:
        """The metrics that are compared with the best so far."""
        return tuple(dict.fromkeys(rule.metric for rule in self.rules if rule.against == "best"))


class GateConfig(GateRules):
    """The rules, and what there is to compare with."""

    champion_missing: str | None = None  # why there is a champion and it could not answer these rows
    best_missing: str | None = None  # why the best so far is not the champion and could not answer these rows
    tries: int = 0  # other adapters that were judged on these very questions since the champion last changed


@step(libraries=("numpy", "pyarrow", "scipy"), resources=LANGUAGE_FILES)
def gate(
    config: GateConfig,
    *,
    base_scores: Path,
    tuned_scores: Path,
    base_shots_scores: Path | None = None,
    champion_scores: Path | None = None,
    best_correct_scores: Path | None = None,
    best_abstention_f1_scores: Path | None = None,
    shipped_scores: Path | None = None,
    trained_scores: Path | None = None,
    must_hold: Path | None = None,
    rows: Path | None = None,
    out: Path,
) -> None:
    """Compare the tuned model with the base, with the champion if there is one, and with itself as it ships.

    The inputs are folders of the score step, for the same rows. `best_correct_scores` are those of the best so far in
    right answers, if that is not the champion; the other one is for refusing. `shipped_scores` or `trained_scores` are
    the tuned model's as it is served, or as it was trained, where it was asked otherwise. `must_hold` is a JSONL file
    of questions by `id` or `query`, and then `rows` has the questions themselves. Writes gate.json, a `Decision`:
    promote, refuse or undecided, why, a verdict per rule, the comparisons in full, and the questions that got lost.
    Raises UserError if the scores are of different rows or documents.
    """
    tuned = Scores.read(tuned_scores / "scores.arrow")
    others: dict[Against, Path | None] = {
        "base": base_scores,
        "base_shots": base_shots_scores,
        "champion": champion_scores,
        "trained": shipped_scores or trained_scores,
    }
    comparisons: dict[Against, tuple[Comparison, ...] | None] = dict.fromkeys(others)
    for against, folder in others.items():
        if folder:
            other = Scores.read(folder / "scores.arrow")
            require_same_rows(other, tuned, (folder, tuned_scores))
            first, second, names = other, tuned, (str(against), "tuned")
            if against == "trained":  # the tuned model as it was trained against the same one as it ships
                first, second = (tuned, other) if shipped_scores else (other, tuned)
                names = ("trained", "shipped")
            comparisons[against] = tuple(compare(first, second, names, resamples=config.resamples, seed=config.seed))
    best = {"correct": best_correct_scores, "abstention_f1": best_abstention_f1_scores}
    comparisons["best"] = tuple(_with_best(config, best, tuned, tuned_scores)) or None
    verdicts = judge_all(config, comparisons)
    earlier = Scores.read((champion_scores or base_scores) / "scores.arrow")
    lost = flips(earlier, tuned)
    if config.max_flips is not None:
        share, documents = share_lost(earlier, tuned), len(set(tuned.documents))
        before: Against = "champion" if champion_scores else "base"
        verdicts.append(flips_at_most(config.max_flips, share, lost, before, documents))
    forgetting = _forgetting(base_scores, tuned_scores)
    if config.max_forgetting is not None:
        verdicts.append(forgetting_at_most(config.max_forgetting, forgetting))
    if must_hold and rows:
        verdicts.append(judge_list(must_hold, rows, tuned))
    decision = Decision(
        decision=decide(verdicts, config.champion_missing),
        verdicts=tuple(verdicts),
        champion_missing=config.champion_missing,
        best_missing=config.best_missing,
        tries=config.tries,
        forgetting=forgetting,
        flips=lost,
        comparisons=comparisons,
        settings=config.model_dump(mode="json") | {"min_clusters": MIN_CLUSTERS},
    )
    explained(decision).write(out / "gate.json")


def _forgetting(base: Path, tuned: Path) -> Forgetting | None:
    """The losses on the general text, by the summaries of the scores; None of a base that cannot read it."""
    files = [folder / "summary.json" for folder in (base, tuned)]
    first, second = (orjson.loads(file.read_bytes()).get("general_loss") if file.exists() else None for file in files)
    return None if first is None or second is None or first > READS else Forgetting(base=first, tuned=second)


def judge_all(config: GateConfig, comparisons: Comparisons) -> list[Verdict]:
    """The verdicts against each system that the tuned model was compared with."""
    verdicts: list[Verdict] = []
    for against, compared in comparisons.items():
        rules = [rule for rule in config.rules if rule.judges(against)]
        if against == "champion":
            rules += _best_is_champion(config, comparisons, rules)
        if against == "best" and config.best_missing:
            verdicts += not_compared(rules, against)
        elif against == "best":
            known = {each.name for each in compared or ()}
            verdicts += judge([rule for rule in rules if rule.metric in known], compared or (), against, config.better)
        elif against == "champion" and config.champion_missing:
            verdicts += not_compared(rules, against)
        elif compared and against == "trained":
            verdicts += judge(parity_rules(config.parity_margin), compared, against, "all")
        elif compared:
            verdicts += judge(rules, compared, against, config.better)
    return verdicts


def _best_is_champion(config: GateConfig, comparisons: Comparisons, rules: Sequence[Rule]) -> list[Rule]:
    """The rules against the best so far where that is the champion, without those that are asked of it anyway."""
    apart = {each.name for each in comparisons.get("best") or ()}
    asked = [rule.model_copy(update={"against": "best"}) for rule in rules]
    wanted = [rule for rule in config.rules if rule.against == "best" and rule.metric not in apart]
    return [] if config.best_missing else [rule for rule in wanted if rule not in asked]


def _with_best(
    config: GateConfig, best: Mapping[str, Path | None], tuned: Scores, tuned_scores: Path
) -> Iterator[Comparison]:
    """Each metric compared with the best so far in it."""
    for metric, folder in best.items():
        if folder:
            other = Scores.read(folder / "scores.arrow")
            require_same_rows(other, tuned, (folder, tuned_scores))
            chance = {"resamples": config.resamples, "seed": config.seed}
            yield from compare(other, tuned, ("best", "tuned"), metrics=[metric], **chance)


def share_lost(before: Scores, tuned: Scores) -> Estimate | None:
    """Of what `before` dealt with rightly the share that `tuned` does not, with its interval by documents."""
    import numpy as np

    good = (outcomes(before) < GOOD).astype(float)
    lost = losses(before, tuned).astype(float)
    return estimate(weighted_sums(lost, good, cluster_codes(before.documents))) if np.any(good) else None


def judge_list(questions: Path, rows: Path, tuned: Scores) -> Verdict:
    """The verdict on a list of questions that must hold; names those that do not by their text."""
    asked = {row.id: row.query for row in read_triplets(rows)}
    by_query: dict[str, list[str]] = {}  # the same question may be asked with the answer in its context and without
    for id_, query in asked.items():
        by_query.setdefault(query, []).append(id_)
    became = dict(zip(tuned.ids, outcomes(tuned).tolist(), strict=True))
    failed, absent, wanted = [], [], read_questions(questions)
    for each in wanted:
        found = [each.id] if each.id in asked else by_query.get(each.query or "")
        if not found:
            absent.append(each.query or each.id or "")
        elif any(became[id_] >= GOOD for id_ in found):
            failed.append(asked[found[0]])
    return must_hold_verdict(failed, absent, len(wanted))
