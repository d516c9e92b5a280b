"""Another value of the same kind."""

import re
from collections.abc import Callable

NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)|\d+")
_DECIMALS = re.compile(r"[.,]\d")


def other_numbers(text: str, lot: Callable[[str], int]) -> str:
    """The text with other numbers in it, each a plausible one in its stead and spelt alike; `lot` draws by name.

    Up to 12 it stays up to 12 and up to 31 up to 28, so that a date stays a date; from 1000 to 2099, which may be a
    year, it moves by 30 at most; else it lies between half and double, with as many digits. Of a decimal number the
    whole part changes, and if that is 0, the rest.
    """
    changed, end, kept = "", 0, -1
    for match in NUMBER.finditer(text):
        old = match.group()
        opens_decimals = _DECIMALS.match(text, match.end())
        if match.start() == kept or (opens_decimals and int(old.replace(",", "")) == 0):
            new = old  # the decimals of a changed number, or the 0 before decimals
        else:
            new = _other(old, lot(str(match.start())))
        kept = match.end() + 1 if opens_decimals and new != old else -1
        changed += text[end : match.start()] + new
        end = match.end()
    return changed + text[end:]


def _other(number: str, lot: int) -> str:
    old = int(number.replace(",", ""))
    if old <= 12:
        low, high = 1, 12
    elif old <= 31:
        low, high = 13, 28
    elif 1000 <= old <= 2099 and "," not in number:
        low, high = old - 30, old + 30
    else:
        digits = len(str(old))
        low, high = max(old // 2, 10 ** (digits - 1)), min(2 * old, 10**digits - 1)
    if low <= old <= high:
        new = low + lot % (high - low)
        new += new >= old  # the old one is skipped
    else:
        new = low + lot % (high - low + 1)
    return f"{new:,}" if "," in number else str(new).zfill(len(number))


def shape(value: str) -> tuple[str, ...]:
    """What kind of value it is, by the case of its words: ``Kim Berg`` and ``Ana Vik`` are alike, ``blue`` is not."""
    return tuple("a" if word.islower() else "Aa" if word.istitle() else "A" for word in value.split())
