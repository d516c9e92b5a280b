"""The writer without a model: what it asks of a sentence, a line and a table, and what it leaves alone."""

import pytest

from tasks.synthesis.documents import Chunk
from tasks.synthesis.offline import pairs


def asked(text, code="en", document="kiln.md", title="The kiln", most=9):
    return [(each.query, each.answer) for each in pairs(Chunk(document, title, 0, ["Kilns"], text), code, most)]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("A kiln is an oven for clay.", "What is a kiln?"),
        ("The `fire()` method is used to start a firing.", "What is the `fire()` method?"),
        ("Pyrometers are the usual gauges of heat.", "What are Pyrometers?"),
        ("The damper controls the draught of the kiln.", "What does the damper control?"),
        ("To open the door, wait until the kiln is cold.", "How do you open the door?"),
        ("Use a peephole to watch the cones.", "How do you watch the cones?"),
        ("If the cone bends early, the kiln is too hot.", "What happens if the cone bends early?"),
        ("If the door sticks, use the crowbar.", "What should you do if the door sticks?"),
        ("When the timer ends, the burner goes out.", "What happens when the timer ends?"),
    ],
)
def test_a_sentence_answers_a_question_with_itself(text, query):
    assert asked(text) == [(query, text)]


@pytest.mark.parametrize(
    "text",
    [
        "It is an oven for clay that glows.",
        "This is the usual way of firing clay.",
        "Serializes a value and adds the result to the buffer.",
        "If set, the kiln heats faster than it otherwise would.",
        "To open it, wait until the kiln is cold.",
        "The option above controls the draught of the kiln.",
        "See https://example.org: A kiln is an oven for clay.",
        "Firing is fun",
    ],
)
def test_a_sentence_that_says_nothing_by_itself_is_not_asked_about(text):
    assert asked(text) == []


def test_a_value_is_asked_for_by_its_name_and_the_name_of_what_has_it():
    ((query, answer),) = asked("Chamber width: 450 mm.")
    assert answer == "450 mm" and "chamber width" in query and "kiln.md" not in query  # the chunk names no one thing
    text = "Data sheet K-17. The chamber width is 450 mm. It has a top heat of 1300 degrees."
    found = asked(text, document="K-17", title="Data sheet K-17")
    assert [answer for _, answer in found] == ["450 mm", "1300 degrees"]
    assert all("K-17" in query for query, _ in found)


def test_a_table_is_asked_about_cell_by_cell():
    found = asked("| cone | degrees |\n| six | 1222 |\n| ten | 1285 |")
    assert [answer for _, answer in found] == ["1222", "1285"]
    assert all("degrees" in query for query, _ in found) and "six" in found[0][0]


def test_other_languages_are_asked_about_lines_of_name_and_value_only():
    ((query, answer),) = asked("Ofenbreite: 450 mm\n\nEin Ofen ist ein Ofen für Ton.", "de")
    assert answer == "450 mm" and "Ofenbreite" in query
    assert asked("Szerokość: 450 mm", "pl") == []  # no forms


def test_code_is_not_asked_about_and_no_question_has_two_answers():
    assert asked("```\nA kiln is an oven for clay.\n```") == []
    assert asked("Width: 450 mm\n\nWidth: 500 mm") == []


def test_of_many_questions_some_are_taken_and_stay_the_same():
    text = "\n\n".join(f"Part {letter}: {number} mm" for number, letter in enumerate("abcdefgh"))
    some = asked(text, most=3)
    assert len(some) == 3 and set(some) <= set(asked(text)) and some == asked(text, most=3)
