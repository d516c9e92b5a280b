"""Faithfulness: do the answer's sentences stand in the context?"""

from collections.abc import Iterable
from functools import lru_cache

from tasks.evaluation.metrics.row import Row
from tasks.text import ContextView
from tasks.text.citations import without_citations

ABSENT_NUMBER, ABSENT_ENTITY = 0.25, 0.15  # what an unsupported number or name in a sentence costs


def sentence_support(context: ContextView, sentence: str, query: str = "") -> float | None:
    """How far a context supports one sentence, S: the mean of three coverages, less a penalty for what is absent.

    ``(idf coverage + best two-sentence window's idf coverage + bigram coverage) / 3``, minus 0.25 if the sentence
    states a number and minus 0.15 if it names a name that the context does not. From -0.40 to 1; None if it has no
    content word. Citations ("[2]") are passed over. AUROC .921 against human labels of 2,579 sentences.
    """
    sentence = without_citations(sentence)
    return _support(
        context,
        sentence,
        new_number=bool(context.unsupported_numbers(sentence)),
        new_entity=bool(context.unsupported_entities(sentence, query)),
    )


@lru_cache(maxsize=1)  # hallucination asks again for the same row
def response_support(row: Row) -> float | None:
    """S of an answer: the mean of its two least supported claims. None if it claims nothing."""
    view = row.context
    if row.claims:
        view.expect(row.answer, row.query)
    supports = [
        _support(
            view,
            claim,
            new_number=bool(row.unsupported_numbers and view.unsupported_numbers(claim)),
            new_entity=bool(row.unsupported_entities and view.unsupported_entities(claim, row.query)),
        )
        for claim in row.claims
    ]
    return mean_of_lowest(supports)


def mean_of_lowest(supports: Iterable[float | None]) -> float | None:
    """The mean of the two lowest; None if there is none. One bad sentence counts, and one alone is often noise."""
    lowest = sorted(support for support in supports if support is not None)[:2]
    return sum(lowest) / len(lowest) if lowest else None


def faithfulness(row: Row) -> float | None:
    """Support of the answer by the context: the mean S of its two least supported sentences, -0.40 to 1, up.

    None for an answer that abstains, which would score low by construction. Source: AUROC .902 against human labels
    of 400 responses (sentence level .921). Blind to a number or name swapped for another one of the same context
    (.67) and to negation (.70): it never claims to see a contradiction. Rewards copying: read beside `copy_density`.
    """
    return None if row.abstained else response_support(row)


def _support(context: ContextView, sentence: str, *, new_number: bool, new_entity: bool) -> float | None:
    idf, window = context.idf_coverages(sentence)
    bigrams = context.bigram_coverage(sentence)
    if idf is None or window is None or bigrams is None:
        return None
    return (idf + window + bigrams) / 3 - ABSENT_NUMBER * new_number - ABSENT_ENTITY * new_entity
