"""Values in text, read in one place: numbers, quantities, ranges, money, dates, times, identifiers.

``1,450 rpm`` is ``1450rpm``, ``5 kW`` is ``5000 W``, ``3 May 2024`` is ``2024-05-03``, ``an hour and a half`` is ``90
minutes``; ``-20 °C``, ``> 5 bar`` and ``$500`` are not ``20 °C``, ``< 5 bar`` and ``€500``. Names of units and months
and the marks of numbers are CLDR's (Babel), by language; what a unit is worth is pint's.
"""

from tasks.text.values.comparing import commensurable, same, stated
from tasks.text.values.phrases import (
    aligned,
    alternatives,
    holds,
    identifiers,
    list_items,
    listing,
    naming,
    negated_before,
    terms,
)
from tasks.text.values.reading import read_values
from tasks.text.values.units import bound_at, multiplies
from tasks.text.values.value import Value

__all__ = [
    "Value",
    "aligned",
    "alternatives",
    "bound_at",
    "commensurable",
    "holds",
    "identifiers",
    "list_items",
    "listing",
    "multiplies",
    "naming",
    "negated_before",
    "read_values",
    "same",
    "stated",
    "terms",
]
