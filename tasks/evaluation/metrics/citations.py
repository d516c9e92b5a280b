"""Citations of numbered passages: do the passages exist, and do they support the sentence?"""

from tasks.evaluation.metrics.grounding import sentence_support
from tasks.evaluation.metrics.row import Row
from tasks.text import ContextView


def citations_exist(row: Row) -> float | None:
    """Share of the cited numbers that a passage of the context bears, 0 to 1, up.

    None if the answer cites nothing, or no number stands in front of the passages. Blind to whether the right passage
    is cited: see `citations_supported`.
    """
    cited = [number for _, numbers in row.cited for number in numbers]
    return sum(number in row.numbered for number in cited) / len(cited) if cited and row.numbered else None


def citations_supported(row: Row) -> float | None:
    """Share of the sentences that cite whose cited passages, taken together, support them, 0 to 1, up.

    Supported: S of `faithfulness` reaches the threshold of `hallucination`. A sentence that cites only what is not
    there counts 0. None if the answer cites nothing, or no number stands in front of the passages. Akin to citation
    recall (Gao 2023, ALCE), by words instead of by a model: blind where `faithfulness` is, and to a needless citation
    beside a good one.
    """
    citing = [(sentence, numbers) for sentence, numbers in row.cited if numbers]
    if not citing or not row.numbered:
        return None
    supported = 0
    for sentence, numbers in citing:
        passages = [row.numbered[number] for number in numbers if number in row.numbered]
        support = sentence_support(ContextView(passages, row.context.code), sentence, row.query)
        supported += bool(passages) and (support is None or support >= row.threshold)
    return supported / len(citing)
