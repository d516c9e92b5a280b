"""Values read in one place: the same in every notation, different where a sign, unit, month or magnitude is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.values import read_values, same

SAME = [
    ("7 kW", "7000 W"), ("2", "two"), ("14 June 2023", "2023-06-14"),
    ("June 14, 2023", "06/14/2023"), ("0.4 %", "0.004"), ("62 percent", "62 %"), ("2,750 kg", "2750 kg"),
    ("$31", "$31.00"), ("8mm", "8 millimetres"), ("half an hour", "30 minutes"), ("1.2e3", "1200"),
    ("10–12 mm", "between 10 and 12 mm"), ("2.5 million", "2,500,000"), ("P‑88", "P-88"), ("19:30", "7:30 pm"),
    ("two years", "24 months"),
]  # fmt: skip
OTHER = [
    ("-8 °C", "8 °C"), ("€70", "$70"), ("> 3 bar", "< 3 bar"), ("14 June 2023", "14 July 2023"), ("9 mm", "9 m"),
    ("2 million", "2 billion"), ("10.0.0.1", "10.0.0.2"), ("v2.1.0", "v2.1.1"), ("T-55", "T-554"), ("4:1", "4.1"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_a_value_is_the_same_in_another_notation(one, other):
    assert same(read_values(one)[0], read_values(other)[0], strict=True)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_another_sign_unit_currency_month_or_magnitude_is_another_value(one, other):
    assert not same(read_values(one)[0], read_values(other)[0])


def test_marks_of_numbers_are_the_languages():
    assert read_values("1.250 kg", "de")[0].low == read_values("1,250 kg")[0].low == 1250
    assert read_values("3,5 km", "de")[0].low == 3.5


PIECES = [
    "1",
    "07",
    "420",
    ".",
    ",",
    ":",
    "-",
    "–",
    " ",
    "e9",
    "^",
    "×10",
    "½",
    "²",
    "万",
    "年",
    " to ",
    " bis ",
    " May",
    "Uhr",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.sampled_from(["en", "de", "fr", "hi", "zh"]))
def test_no_text_is_beyond_the_reader(text, code):
    assert all(0 <= value.start < value.end <= len(text) for value in read_values(text, code))


def test_a_chapter_and_verse_behind_a_dash_is_no_end_of_a_range():
    assert [each.amount() for each in read_values("Psalm 10-134:38")] == ["10", "134:38"]


def test_a_number_beyond_the_floats_is_read_all_the_same():
    assert read_values("9e999 units")[0].low == float("inf")
