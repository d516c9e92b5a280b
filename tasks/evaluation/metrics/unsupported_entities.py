"""Names out of nowhere."""

from tasks.evaluation.metrics.row import Row


def unsupported_entities(row: Row) -> float:
    """1 if the answer holds a name of which some word stands neither in context nor question, else 0; down.

    False alarms on answers that people wrote: 5.3 % (published), 3 of 140 (measured here). Names are known by their
    capitals: blind to a name that opens a sentence, to names in small letters, and to languages without capitals.
    """
    return float(bool(row.unsupported_entities))
