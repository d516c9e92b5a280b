"""What the metrics see, measured on answers spoiled on purpose; and what they are known not to see."""

import random
import re

import pytest

from tasks.evaluation.metrics import Row
from tasks.evaluation.metrics.grounding import (
    faithfulness,
    hallucination,
    relevance,
    response_support,
    sentence_support,
)
from tasks.text import ContextView, sentences
from tests.tasks.evaluation.metrics.grounded import GROUNDED

VIEWS = [ContextView([each.passage]) for each in GROUNDED]


def auroc(good: list[float], bad: list[float]) -> float:
    """The chance that a good one scores above a bad one; a tie counts half."""
    wins = sum((g > b) + (g == b) / 2 for g in good for b in bad)
    return wins / (len(good) * len(bad))


def row(number: int, answer: str) -> Row:
    return Row(query=GROUNDED[number].query, context=VIEWS[number], answer=answer, reference=GROUNDED[number].answer)


def supports(spoiled: list[tuple[int, str]]) -> list[float]:
    return [sentence_support(VIEWS[i], said, GROUNDED[i].query) for i, said in spoiled]


@pytest.fixture(scope="module")
def faithful() -> list[float]:
    return supports([(i, said) for i, each in enumerate(GROUNDED) for said in sentences(each.answer)])


def test_faithful_sentences_are_supported(faithful):
    assert min(faithful) > 0.6
    assert all(hallucination(row(i, each.answer)) == 0 for i, each in enumerate(GROUNDED))


def test_a_wrong_context_is_seen(faithful):
    spoiled = [(j, said) for i, each in enumerate(GROUNDED) for said in sentences(each.answer) for j in (i - 1, i - 5)]
    assert auroc(faithful, supports(spoiled)) > 0.99


def test_an_absent_number_is_seen(faithful):
    digits = random.Random(0)
    spoiled = []
    for i, each in enumerate(GROUNDED):
        for said in sentences(each.answer):
            if number := re.search(r"(?<!\w)\d[\d,.]*\d|(?<!\w)\d+", said):
                spoiled.append((i, said.replace(number.group(), str(digits.randint(4000, 9999)), 1)))
    assert len(spoiled) >= 8
    assert all(VIEWS[i].unsupported_numbers(said) for i, said in spoiled)
    assert auroc(faithful, supports(spoiled)) > 0.95
    assert all(hallucination(row(i, said)) == 1 for i, said in spoiled)


NAMES = {"Vester": "Toronto", "Kestrel": "Falkirk", "Karl Lindqvist": "Tycho Brahe", "Salento": "Provence"}
NAMES |= {"Norholm": "Utrecht", "Denland": "Sweden", "Piper": "Nokia", "Gothenburg": "Lisbon", "Mount Ferrel": "Etna"}


def test_an_absent_name_is_seen(faithful):
    spoiled = [
        (i, f"As is known, {said.replace(old, new)}")
        for i, each in enumerate(GROUNDED)
        for said in sentences(each.answer)
        for old, new in NAMES.items()
        if old in said
    ]
    assert len(spoiled) >= 8
    assert all(VIEWS[i].unsupported_entities(said, GROUNDED[i].query) for i, said in spoiled)
    assert auroc(faithful, supports(spoiled)) > 0.95


def test_an_appended_sentence_is_seen():
    clean = [faithfulness(row(i, each.answer)) for i, each in enumerate(GROUNDED)]
    longer = [f"{each.answer} {sentences(GROUNDED[i - 3].answer)[0]}" for i, each in enumerate(GROUNDED)]
    spoiled = [faithfulness(row(i, answer)) for i, answer in enumerate(longer)]
    assert auroc(clean, spoiled) > 0.99
    assert all(after < before for before, after in zip(clean, spoiled, strict=True))


def test_a_refusal_is_left_out_of_faithfulness_and_hallucinates_nothing():
    for answer in ("Not stated in the context.", "The passage does not say who paid for it."):
        assert faithfulness(row(0, answer)) is None
        assert response_support(row(0, answer)) is None
        assert hallucination(row(0, answer)) == 0


def test_what_follows_a_refusal_is_judged():
    leak = "Not stated in the context. However, the Falkirk wheel lifts boats by 24 metres."
    assert faithfulness(row(0, leak)) is None
    assert hallucination(row(0, leak)) == 1


def test_speaking_of_the_passage_costs_nothing():
    plain, framed = "The bridge opened on 14 May 1937.", "According to the passage, the bridge opened on 14 May 1937."
    assert faithfulness(row(0, framed)) == pytest.approx(faithfulness(row(0, plain)), abs=0.05)
    caveat = plain + " The context does not state who cut the ribbon."
    assert faithfulness(row(0, caveat)) == pytest.approx(faithfulness(row(0, plain)))


def test_the_answer_to_another_question_is_less_relevant():
    own = [relevance(row(i, each.answer)) for i, each in enumerate(GROUNDED)]
    other = [relevance(row(i, GROUNDED[i - 1].answer)) for i in range(len(GROUNDED))]
    assert auroc(own, other) > 0.95


def test_blind_spots_are_as_the_docstring_says():
    swapped = row(5, "Vessel V-301 has a design pressure of 10 bar.")
    negated = row(5, "Vessel V-301 has not a design pressure of 16 bar.")
    assert hallucination(swapped) == 0
    assert hallucination(negated) == 1


VALVE = ["The valve must not be opened under pressure. It closes in 90 minutes at 40 °C and costs €500."]
TABLE = ["| Fan | Speed (rpm) |\n|---|---|\n| F-7 | 900 |\n| F-8 | 1200 |"]


@pytest.mark.parametrize(
    ("context", "answer", "expected"),
    [
        (VALVE, "The valve must be opened under pressure.", 1),
        (VALVE, "The valve must not be opened under pressure.", 0),
        (VALVE, "It closes in an hour and a half.", 0),
        (VALVE, "It closes in 90 seconds.", 1),
        (VALVE, "It costs $500.", 1),
        (VALVE, "It costs €500. I hope this helps!", 0),
        (VALVE, "<think>Perhaps Rome?</think>**It costs €500**.", 0),
        (VALVE, "It costs €500 ([price list](https://shop.example/v#4)).", 0),
        (VALVE, "The hatch must not be opened under pressure.", 1),
        (VALVE, "It costs €500, but no colour.", 0),
        (TABLE, "The speed of F-8 is 1200 rpm.", 0),
        (TABLE, "The speed of F-8 is 900 rpm.", 1),
        ([""], "Yes.", 1),
    ],
)
def test_what_an_average_over_words_hides_is_checked(context, answer, expected):
    assert hallucination(Row(query="What is known of it?", context=ContextView(context), answer=answer)) == expected


FERRIES = (
    "The ferry Alma sails from Horten at 6:15 and carries 40 cars. It has a shop. Bicycles travel free of charge.",
    "The ferry Brise sails from Kirkvik at 9:30 and carries 75 cars. It has a restaurant. Bicycles need a ticket.",
)


@pytest.mark.parametrize(
    ("answer", "hallucinates"),
    [
        ("The Alma sails from Horten at 6:15 and carries 40 cars.", False),
        ("The Alma carries 40 cars; the timetable does not say what a cabin costs.", False),
        ("On the Alma not only bicycles travel free of charge.", False),
        ("The Alma has a restaurant, and bicycles need a ticket.", True),  # of two passages
        ("The Alma sails from Kirkvik at 9:30.", True),
        ("The Alma sails from Horten at 6:15 and offers massage cabins.", True),  # a clause that nothing supports
        ("On the Alma bicycles do not travel free of charge.", True),  # denies a sentence that leaves its name out
    ],
)
def test_what_two_passages_say_is_not_joined_and_each_clause_counts(answer, hallucinates):
    said = Row(query="What does the ferry offer?", context=ContextView(FERRIES), answer=answer)
    assert hallucination(said) == hallucinates


KILN = (
    "The kiln at Arden fires tiles at 1,050 °C for nine hours. It cools down over night. The lid must not be lifted "
    "before morning.",
    "The old kiln reached 900 °C and burnt 4 loads a week. It was shut in 1987 since gas had become too dear.",
)


@pytest.mark.parametrize(
    ("answer", "hallucinates"),
    [
        ("For 9 h the tiles stay in there, at a temperature of 1050 °C.", False),  # right in own words
        ("Nobody may open the lid while it is still night.", False),
        ("People closed the old one in 1987, as gas cost too much.", False),
        ("It fires tiles at 1,050 °C. The sheet does not say how many workers there are.", False),
        ("It fires tiles at 1,050 °C. Which clay is used is not mentioned.", False),
        ("The kiln at Arden fires tiles at 1,050 °C for nine hours under a blanket of argon.", True),  # made up behind
        ("The kiln at Arden fires tiles and porcelain at 1,050 °C for nine hours.", True),
        ("The kiln at Arden fires tiles at 900 °C for nine hours.", True),  # the other one's value
        ("Before morning the lid need be lifted.", True),  # negated
        ("Tourists love the smell of fresh paint there.", True),
    ],
)
def test_right_answers_in_own_words_pass_and_what_is_put_into_literal_ones_does_not(answer, hallucinates):
    said = Row(query="What is known of the kiln?", context=ContextView(KILN), answer=answer)
    assert hallucination(said) == hallucinates


def test_the_letter_t_of_a_name_denies_nothing():
    view = ContextView(["Vessel T-31. The rated speed is 900 rpm. It is not painted."])
    assert hallucination(Row(query="How fast is T-31?", context=view, answer="900 rpm, vessel T-31.")) == 0
