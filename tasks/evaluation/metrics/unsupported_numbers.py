"""Numbers out of nowhere."""

from tasks.evaluation.metrics.row import Row


def unsupported_numbers(row: Row) -> float:
    """1 if the answer states a number in digits that the context states neither in digits nor in words, else 0; down.

    False alarms on answers that people wrote: .3 % (published), 0 of 140 (measured here). Blind to a number taken
    from the wrong place of the context, to numbers in words, to signs and units; a sum or a conversion is an alarm.
    """
    return float(bool(row.unsupported_numbers))
