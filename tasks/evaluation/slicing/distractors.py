"""Distractors: passages of other documents among those that were retrieved."""

from tasks.evaluation.slicing.question import Made, Question


def distractors_40(question: Question) -> Made:
    """Two passages of other documents to each three of the row's own; of one passage, one more."""
    return _with_share(question, 0.4)


def distractors_80(question: Question) -> Made:
    """Four passages of other documents to each of the row's own."""
    return _with_share(question, 0.8)


def _with_share(question: Question, share: float) -> Made:
    """Those most like the question, as many as fit, so that they make up `share` of all; in an order drawn by lot."""
    own = question.row.context
    wanted = max(1, round(len(own) * share / (1 - share)))
    context = [*own, *question.most_that_fit(wanted)]
    return Made(question.arranged(question.shuffled(context, "distractors")))
