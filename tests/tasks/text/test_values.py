"""Values read in one place: the same in every notation, different where a sign, unit, month or magnitude is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.checks import is_negated, shown
from tasks.text.values import read_values, same

SAME = [
    ("7 kW", "7000 W"), ("2", "two"), ("14 June 2023", "2023-06-14"),
    ("June 14, 2023", "06/14/2023"), ("0.4 %", "0.004"), ("62 percent", "62 %"), ("2,750 kg", "2750 kg"),
    ("$31", "$31.00"), ("8mm", "8 millimetres"), ("half an hour", "30 minutes"), ("1.2e3", "1200"),
    ("10–12 mm", "between 10 and 12 mm"), ("2.5 million", "2,500,000"), ("P‑88", "P-88"), ("19:30", "7:30 pm"),
    ("two years", "24 months"), ("2 h 15 min", "135 min"), ("3 years and 6 months", "42 months"),
    ("2 kg 50 g", "2.05 kg"), ("3/4", "0.75"), ("2 1/2 hours", "150 minutes"), ("1/4 inch", "0.25 inch"),
    ("a dozen", "12"),
    ("two dozen", "24"), ("a million", "1,000,000"), ("$2.50", "$2.5"), ("CAD 40", "C$40"),
    ("40 Canadian dollars", "CAD 40"), ("three hours and twelve minutes", "192 minutes"),
    ("7k", "7000"), ("-8 °C", "−8 °C"), ("-8 °C", "minus 8 °C"), ("2 KiB", "2048 bytes"), ("8 m^2", "8 m²"),
    ("v4.20", "version 4.20"),
    ("about 8 kg", "8.0 kg"), ("1 500", "1500"),
]  # fmt: skip
OTHER = [
    ("-8 °C", "8 °C"), ("€70", "$70"), ("> 3 bar", "< 3 bar"), ("14 June 2023", "14 July 2023"), ("9 mm", "9 m"),
    ("2 million", "2 billion"), ("10.0.0.1", "10.0.0.2"), ("v2.1.0", "v2.1.1"), ("T-55", "T-554"), ("4:1", "4.1"),
    ("version 3.1", "version 3.10"), ("v3.1", "version 3.10"), ("Python 3.1", "Python 3.10"),
    ("section 4.2", "section 4.20"),
    ("article 0017", "article 17"), ("§ 17a", "§ 17b"), ("3 kB", "3 KiB"), ("3 Mb", "3 MB"), ("USD 80", "CAD 80"),
    ("A$80", "US$80"), ("2 h 15 min", "2 h"), ("2 h 15 min", "2.15 h"), ("2/3", "3/2"), ("7:05", "7.05"), ("7k", "7"),
    ("3 %", "3 percentage points"), ("a dozen", "10"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_a_value_is_the_same_in_another_notation(one, other):
    assert same(read_values(one)[0], read_values(other)[0], strict=True)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_another_sign_unit_currency_month_or_magnitude_is_another_value(one, other):
    assert not same(read_values(one)[0], read_values(other)[0])


def test_a_numbered_heading_is_no_denial_and_a_raised_number_no_note():
    assert not is_negated("It is No. 7.", "en")
    assert "m²" in shown("It measures 12 m².")


def test_two_quantities_side_by_side_are_two():
    for text in ("3 kW and 200 W", "10 m, 4 kg", "5 °C and 20 °F", "2 h 90 min", "48/96"):
        assert len(read_values(text)) == (1 if "/" in text else 2), text


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
