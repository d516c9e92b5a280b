"""The metrics, one per file, and their table. A new one is one file and one line here."""

from tasks.evaluation.metrics.abstention import (
    abstained,
    abstention_f1,
    abstention_f1_weight,
    abstention_precision,
    abstention_recall,
    leaky_abstention,
    over_refusal,
)
from tasks.evaluation.metrics.chrf import chrf, chrf_of, texts
from tasks.evaluation.metrics.citations_exist import citations_exist
from tasks.evaluation.metrics.citations_supported import citations_supported
from tasks.evaluation.metrics.contains_value import contains_value
from tasks.evaluation.metrics.contrast_pairs import contrast_pairs
from tasks.evaluation.metrics.copy_density import copy_density
from tasks.evaluation.metrics.exact_match import exact_match
from tasks.evaluation.metrics.faithfulness import faithfulness
from tasks.evaluation.metrics.form import form
from tasks.evaluation.metrics.hallucination import hallucination
from tasks.evaluation.metrics.length_ratio import length_ratio
from tasks.evaluation.metrics.metric import Metric
from tasks.evaluation.metrics.refusal_exactness import refusal_exactness
from tasks.evaluation.metrics.relevance import relevance
from tasks.evaluation.metrics.rouge_l import rouge_l
from tasks.evaluation.metrics.row import Row
from tasks.evaluation.metrics.token_f1 import token_f1
from tasks.evaluation.metrics.truncated import truncated
from tasks.evaluation.metrics.unsupported_entities import unsupported_entities
from tasks.evaluation.metrics.unsupported_numbers import unsupported_numbers

METRICS = {
    "faithfulness": Metric(
        faithfulness, "Support by the context", "Faithfulness", "higher", primary=True, binary=False
    ),
    "copy_density": Metric(copy_density, "Copied in runs of five words", "Faithfulness", "none", binary=False),
    "citations_exist": Metric(
        citations_exist, "Cited passages exist", "Faithfulness", "higher", binary=False, same_rows=False
    ),
    "citations_supported": Metric(
        citations_supported, "Cited passages say so", "Faithfulness", "higher", binary=False, same_rows=False
    ),
    "hallucination": Metric(hallucination, "Hallucination rate", "Hallucination", "lower", primary=True),
    "unsupported_numbers": Metric(unsupported_numbers, "Absent number stated", "Hallucination", "lower"),
    "unsupported_entities": Metric(unsupported_entities, "Absent name stated", "Hallucination", "lower"),
    "relevance": Metric(relevance, "Coverage of the question", "Relevance", "higher", primary=True, binary=False),
    "rouge_l": Metric(rouge_l, "ROUGE-L to the reference", "Style / domain", "higher", binary=False),
    "chrf": Metric(
        chrf, "chrF to the reference", "Style / domain", "higher", binary=False, taken=texts, together=chrf_of
    ),
    "form": Metric(form, "Form of the reference", "Style / domain", "higher", binary=False),
    "length_ratio": Metric(length_ratio, "Length over reference", "Style / domain", "none", binary=False),
    "truncated": Metric(truncated, "Answers cut off", "Style / domain", "lower"),
    "refusal_exactness": Metric(
        refusal_exactness, "Refusals to the letter", "Style / domain", "higher", same_rows=False
    ),
    "contains_value": Metric(contains_value, "Holds the right value", "Correctness", "higher"),
    "exact_match": Metric(exact_match, "Exact match (answerable)", "Correctness", "higher"),
    "token_f1": Metric(token_f1, "Token F1 (answerable)", "Correctness", "higher", primary=True, binary=False),
    "abstention_f1": Metric(
        abstention_f1,
        "Abstention F1",
        "Abstention",
        "higher",
        primary=True,
        same_rows=False,
        weight=abstention_f1_weight,
        odds=2.0,
    ),
    "abstention_recall": Metric(abstention_recall, "Recall of refusals", "Abstention", "higher"),
    "abstention_precision": Metric(
        abstention_precision, "Precision of refusals", "Abstention", "higher", same_rows=False
    ),
    "over_refusal": Metric(over_refusal, "Over-refusal", "Abstention", "lower"),
    "leaky_abstention": Metric(leaky_abstention, "Refuses, then answers", "Abstention", "lower", same_rows=False),
    "contrast_pairs": Metric(contrast_pairs, "Contrast pairs, both right", "Abstention", "higher", level="set"),
    "abstained": Metric(abstained, "Answers that refuse", "Abstention", "none"),
}

__all__ = ["METRICS", "Metric", "Row"]
