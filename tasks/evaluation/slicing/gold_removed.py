"""Gold removed: the passages that hold the answer are gone, and nothing but a refusal is right."""

from tasks.evaluation.slicing.holding import may_hold
from tasks.evaluation.slicing.question import Made, Question, Unfit

NEAREST = 8  # distractors among which the one of the likest length is taken


def gold_removed(question: Question) -> Made:
    """A near miss of about the same length stands in each one's place, so that neither length nor count tells.

    Unfit where what is left might hold the answer, too.
    """
    row, spare = question.row, list(question.distractors)
    if may_hold(question.others, row):
        raise Unfit("another passage might hold the answer")
    if len(spare) < len(question.gold):
        raise Unfit("there is no passage of another document")
    context = list(row.context)
    for at in question.gold:
        length = len(context[at])
        context[at] = min(spare[:NEAREST], key=lambda passage: abs(len(passage) - length))
        spare.remove(context[at])
    return Made(row._replace(context=tuple(context), answer=question.refusal, gold=(), value=None, refusal=True))
