"""The metrics: functions over one row, by family, and their table. A new one is a function and a line of the table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.evaluation.metrics.abstention import (
    abstained,
    abstention_f1,
    abstention_f1_weight,
    abstention_precision,
    abstention_recall,
    contrast_pairs,
    leaky_abstention,
    over_refusal,
    refusal_exactness,
)
from tasks.evaluation.metrics.citations import citations_exist, citations_supported
from tasks.evaluation.metrics.correctness import contains_value, correct, exact_match, token_f1
from tasks.evaluation.metrics.form import copy_density, form, length_ratio, truncated
from tasks.evaluation.metrics.grounding import (
    faithfulness,
    hallucination,
    relevance,
    unsupported_entities,
    unsupported_numbers,
)
from tasks.evaluation.metrics.overlap import chrf, chrf_of, rouge_l, texts
from tasks.evaluation.metrics.row import Row

Group = Literal["Faithfulness", "Hallucination", "Relevance", "Style / domain", "Correctness", "Abstention"]
Direction = Literal["higher", "lower", "none"]  # which way is better; none: a diagnostic
Kind = Literal["rate", "mean"]  # rate: each row counts 0 or 1


@dataclass(frozen=True)
class Metric:
    """A metric; its figure is the mean of `measure` over the rows for which it is not None, weighted by `weight`.

    `measure` takes a row and returns a number or None; of a metric of level "set" it looks at several rows together.

    `kind` decides the interval: a rate gets Wilson's, which is false for anything but 0 and 1; a mean is bootstrapped.
    A `primary` metric takes part in decisions: `parity_rules` of the gate ask that it is not worse, and in the report
    the p-values of all primary metrics are corrected for one more test (Holm). `gating.rules` has what a gain must be
    shown in by default, and what may not get worse. test_metrics.py counts them.
    """

    measure: Callable[..., Any]
    label: str
    group: Group
    direction: Direction
    kind: Kind
    primary: bool = False  # one of the few that decide; corrected for being several (Holm)
    level: Literal["row", "set"] = "row"
    same_rows: bool = True  # base and tuned are compared on rows that count for both; else each on its own rows
    weight: Callable[[Row], float] | None = None  # of a row, kept in a column of its own; None: all rows weigh the same
    odds: float = 1.0  # how many times as much, by `weight`, a row that counts 1 weighs as one that counts 0
    # Where many rows are measured faster together: what is taken of each, and all their numbers from that.
    taken: Callable[[Row], Any] | None = None
    together: Callable[[Sequence[Any]], list[float | None]] | None = None


METRICS = {
    "correct": Metric(correct, "Right answers (answerable)", "Correctness", "higher", "rate", primary=True),
    "faithfulness": Metric(faithfulness, "Support by the context", "Faithfulness", "higher", "mean", primary=True),
    "copy_density": Metric(copy_density, "Copied in runs of five words", "Faithfulness", "none", "mean"),
    "citations_exist": Metric(
        citations_exist, "Cited passages exist", "Faithfulness", "higher", "mean", same_rows=False
    ),
    "citations_supported": Metric(
        citations_supported, "Cited passages say so", "Faithfulness", "higher", "mean", same_rows=False
    ),
    "hallucination": Metric(hallucination, "Hallucination rate", "Hallucination", "lower", "rate", primary=True),
    "unsupported_numbers": Metric(unsupported_numbers, "Absent number stated", "Hallucination", "lower", "rate"),
    "unsupported_entities": Metric(unsupported_entities, "Absent name stated", "Hallucination", "lower", "rate"),
    "relevance": Metric(relevance, "Coverage of the question", "Relevance", "higher", "mean"),
    "rouge_l": Metric(rouge_l, "ROUGE-L to the reference", "Style / domain", "higher", "mean"),
    "chrf": Metric(chrf, "chrF to the reference", "Style / domain", "higher", "mean", taken=texts, together=chrf_of),
    "form": Metric(form, "Form of the reference", "Style / domain", "higher", "mean"),
    "length_ratio": Metric(length_ratio, "Length over reference", "Style / domain", "none", "mean"),
    "truncated": Metric(truncated, "Answers cut off", "Style / domain", "lower", "rate"),
    "refusal_exactness": Metric(
        refusal_exactness, "Refusals to the letter", "Style / domain", "higher", "rate", same_rows=False
    ),
    "contains_value": Metric(contains_value, "Holds the right value", "Correctness", "higher", "rate"),
    "exact_match": Metric(exact_match, "Exact match (answerable)", "Correctness", "higher", "rate"),
    "token_f1": Metric(token_f1, "Token F1 (answerable)", "Correctness", "higher", "mean"),
    "abstention_f1": Metric(
        abstention_f1,
        "Abstention F1",
        "Abstention",
        "higher",
        "rate",
        primary=True,
        same_rows=False,
        weight=abstention_f1_weight,
        odds=2.0,
    ),
    "abstention_recall": Metric(abstention_recall, "Recall of refusals", "Abstention", "higher", "rate"),
    "abstention_precision": Metric(
        abstention_precision, "Precision of refusals", "Abstention", "higher", "rate", same_rows=False
    ),
    "over_refusal": Metric(over_refusal, "Over-refusal", "Abstention", "lower", "rate"),
    "leaky_abstention": Metric(
        leaky_abstention, "Refuses, then answers", "Abstention", "lower", "rate", same_rows=False
    ),
    "contrast_pairs": Metric(contrast_pairs, "Contrast pairs, both right", "Abstention", "higher", "rate", level="set"),
    "abstained": Metric(abstained, "Answers that refuse", "Abstention", "none", "rate"),
}

__all__ = ["METRICS", "Metric", "Row"]
