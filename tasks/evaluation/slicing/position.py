"""Position: the same passages, with those that hold the answer first, in the middle or last."""

from tasks.evaluation.slicing.question import Made, Question, Unfit

PASSAGES = 5  # as many as a search often gives; a row of fewer is filled up with distractors


def gold_first(question: Question) -> Made:
    return _placed(question, 0)


def gold_middle(question: Question) -> Made:
    return _placed(question, 0.5)


def gold_last(question: Question) -> Made:
    return _placed(question, 1)


def _placed(question: Question, place: float) -> Made:
    """The passages that hold the answer behind that share of the others, which stand alike in all three slices."""
    row, others = question.row, question.others
    if (missing := PASSAGES - len(row.context)) > 0:
        others = others + question.most_that_fit(missing)
    if len(others) < 2:
        raise Unfit("there are no two other passages")
    others = question.shuffled(others, "position")
    before = round(place * len(others))
    gold = [row.context[at] for at in question.gold]
    return Made(question.arranged([*others[:before], *gold, *others[before:]]))
