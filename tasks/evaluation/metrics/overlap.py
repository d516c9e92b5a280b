"""How like an answer is to the reference answer: sequences of words, characters."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.evaluation.metrics.row import Row

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Floats


ORDER = 6  # characters of the longest n-grams
BETA = 2  # how much more recall counts than precision
KEY_BITS = 64

Texts = tuple[str, str] | None  # answer and reference


def rouge_l(row: Row) -> float | None:
    """F1 of the longest common subsequence of words of answer and reference, 0 to 1, up.

    Measures style: None if the answer abstains or should. Source: ROUGE-L (Lin 2004), without stemming. Blind to
    meaning: a right answer in other words scores low, a wrong number in the right words high.
    """
    from rapidfuzz.distance import LCSseq

    if row.abstained or row.should_abstain or not row.reference:
        return None
    answer, reference = row.answer_words, row.reference_words
    common = LCSseq.similarity(answer, reference)
    return 2 * common / (len(answer) + len(reference)) if common else 0.0


def chrf(row: Row) -> float | None:
    """F-score of the character n-grams, n = 1 to 6, that answer and reference share, 0 to 1, up.

    Recall counts twice as much as precision (chrF2), white space does not count. Measures style, kinder to other
    endings and compounds than `rouge_l`: None if the answer abstains or should. Source: Popović 2015, as sacreBLEU
    computes it for one sentence. Blind to meaning: a wrong digit costs a few n-grams.
    """
    return chrf_of([texts(row)])[0]


def texts(row: Row) -> Texts:
    """What is compared; None where `chrf` does not apply."""
    return None if row.abstained or row.should_abstain or not row.reference else (row.answer, row.reference)


def chrf_of(given: Sequence[Texts]) -> list[float | None]:
    """`chrf` of the `texts` of many rows: 26 µs each of 64, 160 of one alone; the `fastchrf` library takes 140."""
    found = iter(_scores([each for each in given if each]))
    return [next(found) if each else None for each in given]


def _scores(pairs: Sequence[tuple[str, str]]) -> list[float]:
    import numpy as np

    if not pairs:
        return []
    texts = ["".join(text.split()) for pair in pairs for text in pair]
    lengths = np.array([len(text) for text in texts]).reshape(-1, 2, 1)
    said, wanted = np.maximum(lengths - np.arange(ORDER), 0).swapaxes(0, 1)  # n-grams by pair and n
    applies = (said > 0) & (wanted > 0)
    shared = _shared(texts)
    orders = np.maximum(applies.sum(axis=1), 1)
    precision = np.divide(shared, said, where=applies, out=np.zeros_like(shared)).sum(axis=1) / orders
    recall = np.divide(shared, wanted, where=applies, out=np.zeros_like(shared)).sum(axis=1) / orders
    weighed = BETA**2 * precision + recall
    scores: list[float] = ((1 + BETA**2) * precision * recall / np.where(weighed > 0, weighed, 1)).tolist()
    return scores


def _shared(texts: Sequence[str]) -> "Floats":
    """How many n-grams two texts share, for each pair of texts without blanks and each n: shape (pairs, ORDER).

    All n-grams of 6 characters, as numbers under that of their pair, are sorted once: then their first n characters
    are sorted too, and equal ones stand together.
    """
    import numpy as np

    gap = " " * (ORDER - 1)  # n-grams that would run past a text's end have a blank in them
    joined = gap.join(texts) + gap
    letters = sorted(set(joined))  # the blank need not be the least: it is set to 0 below
    bits, pairs = len(letters).bit_length(), len(texts) // 2
    if ORDER * bits + 1 + pairs.bit_length() > KEY_BITS:  # of many scripts
        half = 2 * (pairs // 2)
        return np.concatenate([_shared(texts[:half]), _shared(texts[half:])]) if half else _counted(*texts)
    raw = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    numbered = np.zeros(ord(letters[-1]) + 1, np.uint64)
    numbered[[ord(letter) for letter in letters]] = np.arange(1, len(letters) + 1)
    numbered[ord(" ")] = 0
    one = numbered[raw]
    two = one[:-1] << bits | one[1:]
    three = two[:-1] << bits | one[2:]
    six = three[:-3] << 3 * bits | three[3:]
    text = np.repeat(np.arange(len(texts), dtype=np.uint64), [len(each) + len(gap) for each in texts])[: len(six)]
    keys = (text >> 1 << ORDER * bits | six) << 1 | text & 1
    keys = np.sort(keys[one[: len(six)] > 0])
    of_second = np.concatenate([[0], np.cumsum(keys & 1, dtype=np.int64)])
    shared = np.zeros((pairs, ORDER))
    if not len(keys):
        return shared
    for n in range(1, ORDER + 1):
        grams = keys >> 1 + bits * (ORDER - n)
        starts = np.flatnonzero(np.concatenate([[True], grams[1:] != grams[:-1]]))
        ends = np.append(starts[1:], len(grams))
        second = of_second[ends] - of_second[starts]
        common = np.minimum(second, ends - starts - second)
        grams = grams[starts]
        common[grams & (1 << bits) - 1 == 0] = 0  # too near the end
        shared[:, n - 1] = np.bincount((grams >> bits * n).astype(np.int64), common, pairs)
    return shared


def _counted(first: str, second: str) -> "Floats":
    """The same for one pair, whatever its letters."""
    import numpy as np

    counts = [
        [Counter(text[at : at + n] for at in range(len(text) - n + 1)) for n in range(1, ORDER + 1)]
        for text in (first, second)
    ]
    return np.array([[(said & wanted).total() for said, wanted in zip(*counts, strict=True)]], float)
