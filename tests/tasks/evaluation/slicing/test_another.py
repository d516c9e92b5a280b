"""Another value of the same kind: different, plausible, spelt alike."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation.slicing.question import draw, shuffled
from tasks.evaluation.slicing.slices import other_numbers, shape

LOTS = st.integers(0, 2**64 - 1)


def changed(text: str, lot: int) -> str:
    return other_numbers(text, lambda at: draw(str(lot), at))


@given(st.integers(0, 10**7), LOTS)
def test_a_number_becomes_another_one_of_as_many_digits_or_a_small_one(number, lot):
    other = changed(str(number), lot)
    assert int(other) != number
    if number <= 31:
        assert int(other) <= 12 if number <= 12 else 13 <= int(other) <= 28
    else:
        assert len(other) == len(str(number)) and number // 2 <= int(other) <= 2 * number


@given(st.text(alphabet="ab .,:-/%0123456789", max_size=30), LOTS)
def test_everything_but_the_digits_stays_as_it_is(text, lot):
    def frame(said):
        return re.sub(r"\d+", "#", said)

    spelled = re.sub(r"\d,\d", "", text)
    assert frame(changed(spelled, lot)) == frame(spelled)


@given(st.integers(1, 28), st.integers(1, 12), st.integers(1030, 2069), LOTS)
def test_a_date_stays_a_date(day, month, year, lot):
    found = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", changed(f"{year}-{month:02}-{day:02}", lot))
    assert found
    new_year, new_month, new_day = map(int, found.groups())
    assert 1 <= new_month <= 12 and 1 <= new_day <= 28 and abs(new_year - year) <= 30
    assert (new_year, new_month, new_day) != (year, month, day)


@pytest.mark.parametrize(
    ("old", "form"),
    [
        ("3,450,000 crowns", r"\d,\d{3},\d{3} crowns"),
        ("3.45 bar", r"\d+\.45 bar"),
        ("0.55 mm", r"0\.\d\d mm"),
        ("NV-567", r"NV-\d{3}"),
        ("19 October 2018", r"\d\d October 20\d\d|\d\d October 19\d\d"),
        ("7:30", r"\d+:\d\d"),
    ],
)
def test_the_spelling_stays(old, form):
    for lot in range(50):
        assert re.fullmatch(form, changed(old, lot))
        assert changed(old, lot) != old


def test_a_text_without_numbers_stays_as_it_is():
    assert changed("titanium", 1) == "titanium"


def test_kinds_are_told_by_the_case_of_the_words():
    assert shape("Kim Berg") == shape("Ana Vik") != shape("blue")
    assert shape("blue") == shape("titanium") != shape("NATO")


@given(st.lists(st.integers(), max_size=20), st.text(max_size=5))
def test_a_shuffle_keeps_everything_and_falls_alike_each_time(things, name):
    assert sorted(shuffled(things, name)) == sorted(things)
    assert shuffled(things, name) == shuffled(things, name)
