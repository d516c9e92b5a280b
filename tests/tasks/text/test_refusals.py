"""Refusals told from answers: the sets of wordings, what was measured on them unmended, and the patterns' short cut."""

import json
import re
from pathlib import Path

import pytest

from tasks.text import ContextView, is_refusal, refusal, sentences
from tasks.text.language import language
from tests.tasks.text.wordings import BLIND, wordings

SETS = (1, 2, 3, 4, 5, 6, 7)
SAMPLE = Path(__file__).parents[3] / "data/plant/train.jsonl"


@pytest.mark.parametrize("number", SETS)
def test_refusals_are_recognised_and_answers_are_not_taken_for_them(number):
    missed = [answer for answer in wordings("refusals", number) if not is_refusal(answer)]
    false_alarms = [answer for answer in wordings("answers", number) if is_refusal(answer)]
    assert len(missed) <= 0.02 * len(wordings("refusals", number)), missed
    assert len(false_alarms) <= 0.02 * len(wordings("answers", number)), false_alarms


def test_what_was_measured_blind_is_of_these_sets():
    for number, (recall, false_alarms) in BLIND.items():
        for kind, share in (("refusals", recall), ("answers", false_alarms)):
            count = len(wordings(kind, number))
            assert abs(share * count - round(share * count)) < 0.1, (number, kind)


def test_no_text_stands_in_two_sets_or_on_both_sides():
    texts = [text for number in SETS for kind in ("refusals", "answers") for text in wordings(kind, number)]
    assert len(texts) == len(set(texts))


def test_skipping_patterns_whose_words_are_missing_skips_none_that_matches():
    texts = [text for number in SETS for kind in ("refusals", "answers") for text in wordings(kind, number)]
    reading = refusal._Reading("en", None)
    patterns = [each.pattern for each in language().refusal.wordings.values()]
    texts += [said for line in SAMPLE.open() for passage in json.loads(line)["context"] for said in sentences(passage)]
    for text in set(texts):
        for said in (part for each in sentences(text) for part in each.split(";")):
            for plain in {refusal._plain(said), reading.pronoun_named(refusal._plain(said))}:
                every = [match.span() for each in patterns for match in re.finditer(each, plain)]
                assert [match.span() for match in refusal._wordings(plain)] == every, plain


def test_refusals_stay_refusals_whatever_the_context():
    view = ContextView([json.loads(line)["context"][0] for line in SAMPLE.open()][:40])
    texts = [text for number in SETS for text in wordings("refusals", number) if is_refusal(text)]
    assert sum(is_refusal(text, None, view) for text in texts) >= 0.99 * len(texts)


@pytest.mark.parametrize(
    ("context", "answer"),
    [
        ("No record of a wheel is known, and there is no mention of it by the Inca.", "There is no mention of it."),
        ("The sum paid was not specified.", "The sum paid was not specified."),
        ("The law is unclear and does not define the term.", "It is unclear, and the term is not defined."),
    ],
)
def test_an_answer_that_the_context_gives_in_these_words_is_no_refusal(context, answer):
    assert not is_refusal(answer, None, ContextView([context]))


@pytest.mark.parametrize("said", ["The price of the mill was not disclosed.", "No price was mentioned."])
def test_what_was_not_disclosed_is_a_refusal_only_beside_a_context_that_does_not_speak_of_it(said):
    assert is_refusal(said, None, ContextView(["The mill was sold in 1990."]))
    assert not is_refusal(said, None, ContextView(["The owner of the mill declined to disclose or mention the price."]))
    assert not is_refusal(said)


@pytest.mark.parametrize(
    "answer",
    [
        "12 kg (the passages do not state whether with motor).",
        "Partially: the sheet lists the inlet as DN50, while the outlet isn't mentioned.",
        "It is not specified for use above 40 °C.",
        "The information was not available to investigators until 1990.",
    ],
)
def test_an_answer_may_say_beside_what_it_does_not_know_and_speak_of_others_who_did_not(answer):
    assert not is_refusal(answer)
    assert not is_refusal(answer, None, ContextView(["The pump weighs 12 kg."]))


KIOSK = ContextView(
    ["The kiosk is green. Its clerk said: I'm sorry, the till is empty today. Licence: n/a. Some sums bear a cross."]
)


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        ("Can you upload the price list of the kiosk?", True),
        ("Could you send me the list? I only see the colour of the kiosk here.", True),
        ("The full opening hours aren't part of the retrieved pages; only a heading names them [1].", True),
        ("The owner is not contained in the attached files.", True),
        ("It is hard to tell from the passage.", True),
        ("I'm sorry, the till is empty today.", False),
        ("N/A", False),
        ('"I do not have any change," the clerk replied.', False),
        ('The clerk said: "I cannot open the till."', False),
        ("Hard hats are mentioned in the document.", False),
        ("Uncertain sums are marked in the table by a cross.", False),
    ],
)
def test_a_request_for_the_source_refuses_and_what_the_context_or_others_say_does_not(answer, refuses):
    assert is_refusal(answer, None, KIOSK) is refuses


@pytest.mark.parametrize(
    "answer", ["Answer: not stated in the passage.", 'He sang "I can\'t find my way home" in 1969.']
)
def test_labels_and_quotations_are_seen_through(answer):
    assert is_refusal(answer) == answer.startswith("Answer")


LANGUAGES = sorted(path.stem for path in (Path(__file__).parent / "wordings/languages").glob("*.txt"))


@pytest.mark.parametrize("code", LANGUAGES)
def test_refusals_of_each_language_are_recognised_and_answers_are_not_taken_for_them(code):
    text = (Path(__file__).parent / "wordings/languages" / f"{code}.txt").read_text(encoding="utf-8")
    refusals, answers = (part.splitlines() for part in text.split("--\n"))
    missed = [said for said in refusals if not is_refusal(said, code=code)]
    assert len(missed) <= 0.05 * len(refusals), missed
    assert not [said for said in answers if is_refusal(said, code=code)]


def test_a_refusal_in_another_language_than_its_context_is_seen():
    german = ContextView(["Der Turm wurde 1887 gebaut. Er ist 42 Meter hoch und besteht aus Granit."], "de")
    assert is_refusal("The context does not say who owns the tower.", None, german)
    english = ContextView(["The tower was built in 1887. It is 42 metres high and made of granite."])
    assert is_refusal("Der Text sagt nicht, wem der Turm gehört.", None, english)
