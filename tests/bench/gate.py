"""The gate in simulated weeks: drift, false promotion, power, and what the intervals cover. Needs minutes on one core.

Whoever changes rules, margins or intervals runs it and puts its figures into tasks/README.md.
"""

from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

from flows.promotion.log import Log
from tasks.evaluation.gating.compare import compare
from tasks.evaluation.gating.decision import Comparison
from tasks.evaluation.gating.power import power
from tasks.evaluation.gating.rules import MARGIN, Rule, default_rules
from tasks.evaluation.gating.verdicts import decide
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.statistics import cluster_codes, estimate, span_of, weighted_sums
from tasks.gate import GateConfig, judge_all
from tests.bench.harness import verdict
from tests.flows.promotion.promoting import entry
from tests.tasks.evaluation.gating.simulation import SKEWED, WORLDS, World, evaluation, share, skewed

NULLS = 300  # comparisons of equals, of each world
CHAINS, WEEKS = 12, 13
LOSS, GAIN = 0.02, 0.02  # each week, in right answers and in covering the question
TRIES = 100  # of each size
TOLD_GAIN = 0.10  # of the power
SIZES = {"200 × 2.5": World(200, 4), "500 × 2.5": World(500, 4), "200 × 5.5": World(200, 10)}
COVERED = 400  # of each shape
METRICS = ("correct", "relevance")
CREEPING = (
    Rule(metric="relevance", against="champion", must="better"),
    Rule(metric="correct", against="champion", must="not_worse", margin=MARGIN),
)
ANCHORED = (*CREEPING, Rule(metric="correct", against="best", must="not_worse", margin=MARGIN))


def drift(rules: tuple[Rule, ...], seed: int) -> int:
    """How often an adapter that is truly worse by LOSS than the champion is promoted in so many weeks."""
    rng, world, config = np.random.default_rng(seed), World(1_000, 4), GateConfig(rules=rules)
    rows = world.rows(rng)

    def answers(generation: int) -> Scores:
        return world.answers(rows, rng, correct=-LOSS * generation, relevance=GAIN * generation)

    def against(name: str, other: Scores, tuned: Scores, metrics: tuple[str, ...] = METRICS) -> list[Comparison]:
        return compare(other, tuned, (name, "tuned"), resamples=300, seed=seed, metrics=metrics)

    served = {"0": answers(0)}
    log = Log([entry(Log([]), "0")])
    for _ in range(WEEKS):
        champion, best = log.state.champion, log.best("correct")
        assert champion and best
        tuned = answers(len(served))
        compared = {"champion": against("champion", served[champion.key], tuned)}
        if best.key != champion.key:
            compared["best"] = against("best", served[best.key], tuned, ("correct",))
        verdicts = judge_all(config, compared)
        if decide(verdicts, None) == "promote":
            name = str(len(served))
            served[name] = tuned
            told = [(each.against, each.metric, each.low) for each in verdicts]
            log = Log([*log.entries, entry(log, name, told)])
    return len(served) - 1


def coverage() -> Iterator[tuple[str, float]]:
    for alike in (0.3, 1.0):
        for shape, (_, true) in SKEWED.items():
            rng, found = np.random.default_rng(9), []
            for _ in range(COVERED):
                values, document = skewed(shape, alike, 50, rng)
                sums = weighted_sums(values, np.ones(len(values)), cluster_codes(list(map(str, document))))
                told = estimate(sums, span=span_of(values))
                assert told
                found.append(told.low <= true <= told.high)
            yield f"{shape}, {alike:.0%} of a document's rows alike", share(found)


def main() -> None:
    shown = Table(title="The gate, simulated", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "share", "what"):
        shown.add_column(column, justify="right" if column == "share" else "left")

    def row(what: str, value: float, about: str) -> float:
        shown.add_row(what, f"{value:.3f}", about)
        return value

    false = {
        name: row(name, share([evaluation(world, seed)[2] == "promote" for seed in range(NULLS)]), "promoted by chance")
        for name, world in WORLDS.items()
    }
    covered = {name: row(name, value, "covered, 50 documents") for name, value in coverage()}
    rules = [rule for rule in default_rules() if rule.judges("base")]
    powers = {}
    for name, world in SIZES.items():
        found = share([evaluation(world, seed, correct=TOLD_GAIN)[2] == "promote" for seed in range(TRIES)])
        said = power(rules, "any", size=(world.documents, round(world.documents * (world.most_rows + 1) / 2)))
        powers[name] = row(f"{name} rows", found, f"a gain of {TOLD_GAIN} promoted; foretold {said.chance or 0:.2f}")
    losses = {}
    for name, asked in (("without", CREEPING), ("with", ANCHORED)):
        chains = [drift(asked, seed) for seed in range(CHAINS)]
        losses[name] = row(
            f"{name} the best so far",
            LOSS * float(np.mean(chains)),
            f"right answers lost in {WEEKS} weeks, worst {LOSS * max(chains):.2f}",
        )
        losses[f"{name}_beyond"] = share([LOSS * each > MARGIN for each in chains])
    Console(width=110).print(shown)
    holds = (
        max(false.values()) <= 0.05
        and min(covered.values()) >= 0.9
        and losses["with"] <= MARGIN
        and losses["with_beyond"] <= 0.1
    )
    verdict(
        "gate",
        ratio=losses["with"] / MARGIN,
        target=1.0,
        holds=holds,
        false_promotion=max(false.values()),
        covered=min(covered.values()),
        power=powers,
        lost={name: round(value, 3) for name, value in losses.items()},
    )


if __name__ == "__main__":
    main()
