"""Reading text: words, sentences, numbers, names, values, refusals, and what a context supports."""

import builtins
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text import (
    ContextView,
    claims,
    content_stems,
    entities,
    holds,
    is_refusal,
    leaks,
    numbers,
    sentences,
    words,
)
from tasks.text.quantities import stands, supported_numbers
from tasks.text.tokens import stem
from tasks.text.values import read_values

SENTENCE = "Not stated in the context."


def test_words_are_folded_runs_of_letters_and_digits():
    read = words("Don't touch P-101A: 3.5 m² ﬁlter, STRASSE/Straße!")
    assert " ".join(read) == "don t touch p 101a 3 5 m2 filter strasse strasse"


def test_ascii_and_other_text_are_read_alike():
    assert words("The Valve's 2nd seat") == words("The Valve’s 2nd seat")


def test_content_stems_drop_stop_words_and_endings():
    assert content_stems("The pumps were being lubricated with oils") == ["pump", "lubric", "oil"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It opened in 1937. It cost 3.5 million!", ["It opened in 1937.", "It cost 3.5 million!"]),
        ("Dr. Smith met J. R. Brown at No. 5. They left.", ["Dr. Smith met J. R. Brown at No. 5.", "They left."]),
        ("See e.g. the U.S. Navy. Fine.", ["See e.g. the U.S. Navy.", "Fine."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("A tokenised sentence . Another one .", ["A tokenised sentence .", "Another one ."]),
        ("a line that\nwraps here. And ends.", ["a line that\nwraps here.", "And ends."]),
        ("Steps:\n- open the valve\n- close it\n\nDone", ["Steps:", "- open the valve", "- close it", "Done"]),
        ("1. Open.\n2. Close.", ["1. Open.", "2. Close."]),
        ("", []),
        (" ... \n", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, expected):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3,100 seats", ["3100"]),
        ("05.50 bar and 16.0 bar", ["5.5", "16"]),
        ("the 19th of the 1990s", ["19", "1990"]),
        ("10-12 mm, 1,5 mm", ["10", "12", "1", "5"]),
        ("at 7:30, version 1.2.3", ["7:30", "1.2.3"]),
        ("code B12 and v2.3", []),
        ("1. first\n(2) second [3] as shown [4, 5]", []),
        ("１４５０ rpm, 25kW, $3", ["1450", "25", "3"]),
        ("no number", []),
    ],
)
def test_numbers_have_one_spelling(text, expected):
    assert numbers(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He lives in Lake Havasu City, Arizona now.", ["Lake Havasu City", "Arizona"]),
        ("The pump P-101A belongs to NATO.", ["P-101A", "NATO"]),
        ("Pumps were built by Jean-Luc O'Neil.", ["Jean-Luc O'Neil"]),
        ("Marie Curie", ["Marie Curie"]),
        ("It is cold. Rain is likely.", []),
        ("When I met her in June, The Times wrote 1999.", ["June", "Times"]),
    ],
)
def test_entities_are_known_by_their_capitals(text, expected):
    assert entities(text) == expected


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("It runs at 1450rpm.", "1,450 rpm", True),
        ("116 bar", "16 bar", False),
        ("-16 bar", "16 bar", False),
        ("It is −5 °C there.", "-5 °C", True),
        ("between 10-12 mm", "12 mm", True),
        ("The three pumps", "3 pump", True),
        ("use iso vg 46 oil", "ISO VG 46", True),
        ("oil VG 460", "VG 46", False),
        ("the P-101A pump", "P-101A", True),
        ("Lorerup, sheet R-446.", "Lorerup", True),
        ("", "5", False),
        ("above 5 %", "%", True),
    ],
)
def test_a_value_is_found_however_it_is_spelled(text, value, expected):
    assert holds(text, value) is expected


@pytest.mark.parametrize(
    "answer", [SENTENCE, "not stated in the context", f"{SENTENCE} But see page 3.", "“" + SENTENCE]
)
def test_the_fixed_sentence_is_a_refusal_in_any_dress(answer):
    assert is_refusal(answer, SENTENCE)


def test_a_fixed_sentence_of_any_language_is_a_refusal():
    assert is_refusal("Ez nincs benne.", "Ez nincs benne.", code="hu")
    assert not is_refusal("Ez nincs benne.", code="hu")


def test_an_answer_with_a_caveat_is_no_refusal():
    assert not is_refusal("It was built in 1999, but the context does not say by whom.")
    assert not is_refusal("The pressure is 16 bar. The passage does not mention the temperature.")


@pytest.mark.parametrize(
    "answer",
    [
        f"{SENTENCE} However, it is usually 16 bar for such pumps.",
        "Not stated in the context, but it is probably 16 bar as in most pumps.",
        "I cannot answer this from the passages. The usual pressure of such pumps is 16 bar.",
        "The passage does not directly answer the question, but it says that the pump runs at 1450 rpm.",
    ],
)
def test_a_refusal_that_answers_anyway_leaks(answer):
    assert is_refusal(answer, SENTENCE)
    assert leaks(answer, SENTENCE)


@pytest.mark.parametrize(
    "answer",
    [
        SENTENCE,
        "I'm sorry, the passages don't mention the pressure. Please provide more details about the pump.",
        "The passage discusses butterflies. It doesn't say anything about the life of moths.",
        "There is no information about moths. The passages discuss butterflies and their food.",
        "The pressure is 16 bar.",
    ],
)
def test_a_clean_refusal_and_an_answer_do_not_leak(answer):
    assert not leaks(answer, SENTENCE)


def test_claims_are_what_can_be_checked():
    assert claims("The pressure is 16 bar. The context does not state the temperature.") == ["The pressure is 16 bar."]
    assert claims("It opened in 1937, but the text does not say why.") == ["It opened in 1937"]
    assert claims("According to the passage, the bridge opened in 1937.") == ["the bridge opened in 1937."]
    assert claims(SENTENCE, SENTENCE) == []


PASSAGES = ["The feed pump runs at 1,450 rpm. It weighs twenty-five kilograms.", "Paint the pump grey. Use Dulux."]


def test_coverages_are_what_one_reckons_by_hand():
    view = ContextView(PASSAGES)
    assert view.k_precision("The pump pump pump") == 3 / 4  # twice in the context
    assert view.content_coverage("The blue pumps run") == 2 / 3
    assert view.bigram_coverage("the feed pump weighs") == 2 / 3
    assert view.bigram_coverage("pumps") == 1
    once, both, never = math.log(3 / 2) + 1, math.log(3 / 3) + 1, math.log(3) + 1
    assert view.idf_coverage("pump runs hot") == pytest.approx((both + once) / (both + once + never))
    assert view.best_window_idf_coverage("pump runs grey") == pytest.approx((both + once) / (both + once + once))


def test_a_window_does_not_reach_over_two_passages():
    apart, together = ContextView(["Red fox.", "Blue whale."]), ContextView(["Red fox. Blue whale."])
    assert together.best_window_idf_coverage("red whale") == 1
    assert apart.best_window_idf_coverage("red whale") == 0.5


@pytest.mark.parametrize("answer", ["", "...", "It is."])
def test_where_there_is_nothing_to_measure_the_measure_is_none(answer):
    view = ContextView(PASSAGES)
    assert view.content_coverage(answer) is view.idf_coverage(answer) is view.best_window_idf_coverage(answer) is None


def test_an_empty_context_supports_nothing():
    view = ContextView([])
    assert view.idf_coverage("the pump") == view.best_window_idf_coverage("the pump") == view.k_precision("pump") == 0
    assert view.unsupported_numbers("16 bar") == ["16"]


def test_numbers_are_supported_in_digits_and_in_words():
    view = ContextView([*PASSAGES, "Between 10,5 and 11 mm at 7:30; the first of two."])
    assert view.unsupported_numbers("1450 rpm, 25 kg, 10.5 mm, 7, 30, 1 of 2") == []
    assert view.unsupported_numbers("1451 rpm and 45 kg") == ["1451", "45"]


def test_a_name_is_supported_by_context_or_question():
    view = ContextView(PASSAGES)
    assert view.unsupported_entities("Use Dulux, says Bob.") == ["Bob"]
    assert view.unsupported_entities("Use Dulux, says Bob.", query="What does Bob say?") == []


def test_copied_counts_words_in_long_runs():
    view = ContextView(PASSAGES)
    assert view.copied("Note: the feed pump runs at 1,450 rpm", run=5) == 8 / 9
    assert view.copied("rpm it weighs twenty five kilograms paint the pump", run=5) == 6 / 9
    assert view.copied("the feed pump", run=5) is None


SAMPLE = Path(__file__).parents[3] / "data/plant/train.jsonl"


def test_a_quick_bound_is_never_below_the_coverage_that_it_bounds() -> None:
    rows = [json.loads(line) for line in SAMPLE.open()]
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
        view = ContextView(row["context"])
        for text in (row["query"], other["query"], other["answer"], " ".join(other["context"])):
            assert view.most_coverage(text) >= (view.idf_coverage(text) or 0) - 1e-12


def test_a_words_stem_begins_like_the_word() -> None:
    """What the bound rests on, for every word of the sample and of Python's own documentation strings."""
    text = SAMPLE.read_text() + "".join(str(each.__doc__) for each in (*vars(builtins).values(), json, re, str, Path))
    for word in set(words(text)):
        assert word.startswith(stem(word)[: max(1, len(stem(word)) - 2)])


@given(st.text(alphabet="ab1_ .é²İ-\n", max_size=30), st.text(alphabet="ab1é²İ", min_size=1, max_size=4))
def test_a_word_that_stands_in_a_context_is_found_without_reading_it(context: str, word: str) -> None:
    found = words(word)
    if len(found) == 1:
        assert ContextView([context])._has(found[0]) == (found[0] in words(context))


@given(st.text(alphabet="0127.,: -a_:²", max_size=20), st.sampled_from(["0", "1", "12", "1.2", "7:2", "27"]))
def test_a_number_that_stands_in_a_text_is_one_that_it_states(text: str, number: str) -> None:
    if stands(number, text):
        assert number in supported_numbers(text, words(text))


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_words_are_what_the_pattern_for_all_letters_finds(text: str) -> None:
    assert words(text) == re.findall(r"[^\W_]+", text.casefold())


@pytest.mark.parametrize(
    ("claim", "context", "stands"),
    [
        ("The door waits more than 4 seconds.", "The door waits more than 4 seconds, then it closes.", True),
        ("The door waits more than 4 seconds.", "The door waits less than 4 seconds, then it closes.", False),
        ("The island has 566 birds.", "Of the island's 566 birds most are gulls.", True),
        ("The island has 566 birds.", "The island cost 566 million crowns.", False),
        ("The tank holds 12 litres.", "The tank holds 12.5 litres.", False),
    ],
)
def test_a_value_that_stands_in_the_context_as_the_claim_spells_it_needs_no_closer_look(claim, context, stands):
    (value,) = read_values(claim)
    assert ContextView([context]).says(claim, value) is stands
