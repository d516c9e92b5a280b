"""The metrics as plain functions over (query, context, answer), for use outside the pipeline, in any language.

    from tasks.evaluation.metrics.plain import faithfulness, is_abstention

`context` is one text or a list of passages. Nothing is read, written or downloaded; the same arguments give the same
number. Where the metric of the same name gives None because an answer abstains, these give a number: whoever compares
them with labels of people wants one for every row.
"""

from collections.abc import Sequence
from functools import lru_cache

from tasks.evaluation.metrics.grounding import mean_of_lowest, sentence_support
from tasks.evaluation.metrics.row import Row
from tasks.text import ENGLISH, ContextView, detect, sentences
from tasks.text.citations import without_citations
from tasks.text.thoughts import split_thought

Context = str | Sequence[str]


def faithfulness(query: str, context: Context, answer: str) -> float | None:
    """Support of an answer by its context, from 0 (none) to 1: the mean S of its two least supported claims.

    Claims are its sentences without refusals and caveats. An answer that claims nothing, as a clean refusal does, is
    measured by its sentences as they stand, and scores low: ask `is_abstention` first to leave those out. None only
    for an answer without a word. What S is, and where it is blind: `tasks.evaluation.metrics.grounding`.
    """
    view = _view(context)
    said = Row(query=query, context=view, answer=split_thought(answer)[1]).claims or sentences(
        without_citations(answer, view.code), view.code
    )
    return mean_of_lowest(_sentence(query, view, each) for each in said)


def sentence_faithfulness(query: str, context: Context, sentence: str) -> float | None:
    """Support S of one sentence of an answer, from 0 to 1. None only for one without a word.

    Where it has no content word ("It is."), the share of its words that the context holds.
    """
    return _sentence(query, _view(context), sentence)


def sentences_faithfulness(query: str, context: Context, answer: str) -> list[tuple[str, float | None]]:
    """The sentences of an answer, refusals and caveats too, each with its support S."""
    view = _view(context)
    return [(sentence, _sentence(query, view, sentence)) for sentence in sentences(answer, view.code)]


def is_abstention(query: str, context: Context, answer: str) -> bool:
    """Whether an answer declines to answer, in whatever words, also if it then answers all the same.

    What only sounds like a refusal ("The amount was not disclosed.") is none if the context says it itself.
    """
    return Row(query=query, context=_view(context), answer=split_thought(answer)[1]).abstained


@lru_cache(maxsize=64)  # asked sentence by sentence, a context is read once
def _of(passages: tuple[str, ...]) -> ContextView:
    return ContextView(passages, detect(*passages) if passages else ENGLISH)


def _view(context: Context) -> ContextView:
    return _of((context,) if isinstance(context, str) else tuple(context))


def _sentence(query: str, view: ContextView, sentence: str) -> float | None:
    support = sentence_support(view, sentence, query)
    return view.k_precision(without_citations(sentence, view.code)) if support is None else support
