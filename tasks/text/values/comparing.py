"""Values compared as values: the same in another notation, of one kind, one of several."""

from collections.abc import Sequence
from functools import cache
from math import isclose
from typing import Any

from tasks.text.values.value import Value

CONVERTED = 5e-4  # relative: how exactly a converted value is told
EQUAL = 1e-9  # relative: of two spellings of one number


def same(one: Value, other: Value, *, strict: bool = False) -> bool:
    """Whether two values are equal. Unless `strict`, one may leave out the unit, the bound, the year or the range."""
    if one.kind != other.kind:
        return not strict and _same_year(one, other)
    if one.kind == "date":
        return all([a == b or not (a and b) and not strict for a, b in zip(one.words, other.words, strict=True)])
    if one.kind != "number":
        return one.words == other.words
    if (one.named or other.named) and not (one.unit or other.unit) and one.digits != other.digits:
        return False
    if one.bound != other.bound and (strict or (one.bound and other.bound and one.bound[0] != other.bound[0])):
        return False
    if _equal_ends(one, other.low, other.high, other.unit, strict):
        return True
    if strict or one.low != one.high or other.low == other.high:
        return False
    return any([_equal_ends(one, end, end, other.unit, False) for end in (other.low, other.high)])


def _same_year(one: Value, other: Value) -> bool:
    date, number = (one, other) if one.kind == "date" else (other, one)
    if date.kind != "date" or number.kind != "number" or number.unit:
        return False
    return number.low in (date.words[0], date.words[2]) and number.low > 0


def _equal_ends(one: Value, low: float, high: float, other: str, strict: bool) -> bool:
    """Whether a number has these ends in the `other` unit."""
    unit = one.unit
    if (unit == other or not (strict or (unit and other))) and _equal(one.low, low) and _equal(one.high, high):
        return True
    if unit == other:
        return False
    if not (unit and other):
        if "percent" not in (unit, other):
            return False
        mine, its = (100, 1) if unit else (1, 100)
        return _equal(one.low / mine, low / its) and _equal(one.high / mine, high / its)
    if {unit, other} <= {"degree", "degC", "degF"} and "degree" in (unit, other):
        return not strict and _equal(one.low, low) and _equal(one.high, high)
    if not strict and {unit, other} == {"pound", "GBP"}:  # "1250 pounds" is either
        return _equal(one.low, low) and _equal(one.high, high)
    if _is_currency(unit) or _is_currency(other):
        return False
    if not strict and "percent" in (unit, other):  # "2 % a year" of "2 % interest a year"
        return unit.split("/")[0] == other.split("/")[0] and _equal(one.low, low) and _equal(one.high, high)
    first, second = _worth(unit), _worth(other)
    if first is None or second is None or first[0] != second[0]:
        return False
    return all(
        isclose(a * first[1] + first[2], b * second[1] + second[2], rel_tol=CONVERTED)
        for a, b in ((one.low, low), (one.high, high))
    )


def _equal(one: float, other: float) -> bool:
    return one == other or isclose(one, other, rel_tol=EQUAL)


def _is_currency(unit: str) -> bool:
    return len(unit) == 3 and unit.isupper()


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


@cache
def _worth(unit: str) -> tuple[str, float, float] | None:
    """Dimension, factor and offset to base units; None for what pint does not know."""
    try:
        one, none = (_registry().Quantity(each, unit).to_root_units() for each in (1.0, 0.0))
    except Exception:
        return None
    return str(one.units), float(one.magnitude - none.magnitude), float(none.magnitude)


@cache
def factor(unit: str, other: str) -> float:
    """How many of the `other` unit one of a unit is; 0 if they measure something else, or do not start at one zero."""
    first, second = _worth(unit), _worth(other)
    if not (first and second) or first[0] != second[0] or first[2] or second[2]:
        return 0.0
    return first[1] / second[1]


@cache
def is_time(unit: str) -> bool:
    return factor(unit, "second") > 0


def commensurable(one: Value, other: Value) -> bool:
    """Whether two values are of one kind, so that one could stand for the other: two pressures, two dates."""
    if one.kind != other.kind:
        return False
    if one.kind != "number" or one.unit == other.unit:
        return True
    if not (one.unit and other.unit):
        return False
    if _is_currency(one.unit) or _is_currency(other.unit):
        return _is_currency(one.unit) and _is_currency(other.unit)
    first, second = _worth(one.unit), _worth(other.unit)
    return first is not None and second is not None and first[0] == second[0]


def stated(value: Value, others: Sequence[Value], *, strict: bool = False) -> bool:
    """Whether one of the others is the value."""
    return any(same(value, other, strict=strict) for other in others)
