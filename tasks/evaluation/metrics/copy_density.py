"""How much of the answer is copied."""

from tasks.evaluation.metrics.row import Row

RUN = 5  # words in a row that hardly agree by chance


def copy_density(row: Row) -> float | None:
    """Share of the answer's words that lie in runs of five or more words copied from a passage, 0 to 1.

    A diagnostic beside `faithfulness`, which copying raises: neither way is better. None if the answer abstains or
    has fewer than five words. Akin to the coverage by extractive fragments of Grusky 2018.
    """
    return None if row.abstained else row.context.copied(row.answer, RUN)
