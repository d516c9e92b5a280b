"""The form of an answer: its likeness to the reference's form, its length, what is copied, whether it was cut off."""

from functools import cache

from tasks.evaluation.metrics.row import Row
from tasks.text.tokens import stop_words

RUN = 5  # words in a row that hardly agree by chance


def form(row: Row) -> float | None:
    """`rouge_l` of answer and reference with any content word for any other and any number for any other; 0 to 1, up.

    The style without the domain, which the other measures of likeness mix: a wrong value in the reference's form counts
    in full, and a right one in another form ("It is 16 bar." for "16 bar.") does not. None if the answer abstains or
    should. Blind to punctuation and case, and in other languages than English to all but length and numbers, for their
    function words pass for content.
    """
    from rapidfuzz.distance import LCSseq

    if row.abstained or row.should_abstain or not row.reference_words:
        return None
    kinds = _kinds(row.context.code)
    answer, reference = [list(map(kinds.__getitem__, said)) for said in (row.answer_words, row.reference_words)]
    return 2 * LCSseq.similarity(answer, reference) / (len(answer) + len(reference))


class _Kinds(dict[str, str]):
    """What a word counts as, by word: itself, "0" or "w"; emptied when it has more than a language uses."""

    def __init__(self, kept: frozenset[str]) -> None:
        self.kept = kept

    def __missing__(self, word: str) -> str:
        if len(self) >= 1 << 16:
            self.clear()
        self[word] = found = word if word in self.kept else "0" if word[0].isdigit() else "w"
        return found


@cache
def _kinds(code: str) -> _Kinds:
    return _Kinds(stop_words(code))


def length_ratio(row: Row) -> float | None:
    """Words of the answer over words of the reference, from 0; 1 is as long. A diagnostic: neither way is better.

    None if the answer abstains or should. Shows padding and curtness, which most other metrics reward or punish.
    """
    if row.abstained or row.should_abstain or not row.reference_words:
        return None
    return len(row.answer_words) / len(row.reference_words)


def copy_density(row: Row) -> float | None:
    """Share of the answer's words that lie in runs of five or more words copied from a passage, 0 to 1.

    A diagnostic beside `faithfulness`, which copying raises: neither way is better. None if the answer abstains or
    has fewer than five words. Akin to the coverage by extractive fragments of Grusky 2018.
    """
    return None if row.abstained else row.context.copied(row.answer, RUN)


def truncated(row: Row) -> float:
    """1 if the answer was cut off at the limit of new tokens, else 0; down. The model rambles, or the limit is low."""
    return float(row.truncated)
