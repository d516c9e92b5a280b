"""The same adversaries on long free-text answers from passages, against the base and against a champion."""

import re
from statistics import fmean

import pytest

from tasks.data.triplets import Triplet
from tasks.evaluation.metrics import Row
from tasks.evaluation.metrics.correctness import correct
from tasks.gate import GateConfig
from tasks.text import ContextView
from tests.tasks.evaluation.gating.evaluation import Evaluation

REFUSAL = "The passages do not say."
STARTS, ENDS = ("Ash", "Brin", "Cor", "Dun", "Elm", "Fen", "Gar", "Hol", "Ing", "Kel"), ("by", "dale", "ford", "ham")
RIVERS = ("Lune", "Tarn", "Wend", "Isk", "Orre", "Mell", "Sarn")
BUILDERS = ("Ada Brandt", "Jon Kvist", "Mira Solen", "Tom Harrow", "Lena Voss")
GOODS = ("salt and timber", "wool and slate", "grain and clay pipes", "herring and rope", "glass and tar")
TOWNS = [f"{start}{middle}{end}" for middle in ("", "er", "wick") for start in STARTS for end in ENDS]


def rows() -> list[Triplet]:
    """Of each of 120 towns two questions with an answer of two sentences, and one that its passages leave open."""
    made = []
    for number, town in enumerate(TOWNS):
        river, builder = RIVERS[number % 7], BUILDERS[number % 5]
        goods, year, arches, length = GOODS[number * 3 % 5], 1702 + number, 3 + number % 11, 64 + 2 * number
        context = (
            f"{town} lies on the {river}. Its bridge was begun in {year} under {builder} and stands on {arches} arches "
            f"of sandstone. With {length} metres it was the longest in the county when it opened.",
            f"The market of {town} grew with the bridge. Carters brought {goods} over it, and a toll of {arches + 2} "
            f"pence a cart paid for its upkeep until the county took it over {number % 40 + 30} years later.",
        )
        bridge = (
            f"The bridge of {town} was begun in {year} under {builder}. It crosses the {river} on {arches} arches and "
            f"is {length} metres long."
        )
        market = (
            f"Carters brought {goods} over the bridge to the market. Its upkeep was paid by a toll of {arches + 2} "
            "pence a cart."
        )
        for query, answer, gold in (
            (f"How was the bridge of {town} built?", bridge, 0),
            (f"How did the market of {town} live from the bridge?", market, 1),
        ):
            made.append(Triplet(f"{town}-{gold}", town, query, context, answer, gold=(gold,)))
        made.append(Triplet(f"{town}-open", town, f"Who owns the mill of {town}?", context, REFUSAL, refusal=True))
    return made


ROWS = rows()


def right(number, row):
    return row.answer


def another_value(number, row):
    """Every number is another one."""
    return re.sub(r"\d+", lambda found: str(int(found[0]) + 7), row.answer)


def next_document(number, row):
    return row.answer if row.refusal else ROWS[(number + 3) % len(ROWS)].answer


def other_question(number, row):
    """The other answer of the same passages."""
    return row.answer if row.refusal else ROWS[number + (1 if number % 3 == 0 else -1)].answer


def first_passage(number, row):
    """Copies a passage, whatever is asked."""
    return row.answer if row.refusal else row.context[1 - row.gold[0]]


def half(number, row):
    """Right on half, and refuses nothing; the other half is of another town."""
    other = ROWS[(number + 3) % len(ROWS)]
    return ROWS[number - 1].answer if row.refusal else other.answer if number % 2 else row.answer


def own_words(number, row):
    """Right, and hardly two words side by side as in the passages."""
    if row.refusal:
        return row.answer
    at = number // 3
    goods, arches = GOODS[at * 3 % 5], 3 + at % 11
    if row.gold == (0,):
        start = f"Under {BUILDERS[at % 5]} they started to build it in {1702 + at}."
        return f"{start} Over the {RIVERS[at % 7]} it reaches {64 + 2 * at} metres, on {arches} sandstone arches."
    return f"From {goods} that came over it by cart; each of the carters had {arches + 2} pence to pay for its upkeep."


def copied(number, row):
    """Copies whole passages, the right one half of the time, and refuses nothing."""
    gold = row.gold[0] if row.gold else 0
    return row.context[gold if number % 2 else 1 - gold]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return Evaluation(tmp_path_factory.mktemp("long"), ROWS)


@pytest.mark.parametrize("champion", [None, half])
@pytest.mark.parametrize("system", [another_value, next_document, other_question, first_passage])
def test_long_answers_that_are_fluent_and_wrong_are_refused_for_being_wrong(evaluation, system, champion):
    others = {"champion": champion} if champion else {}
    found = evaluation.judged(half, system, GateConfig(resamples=200), **others)
    assert found["decision"] == "refuse"
    assert "right answers" in found["why"].lower()


def test_long_answers_that_are_right_are_promoted(evaluation):
    assert evaluation.judged(half, right, GateConfig(resamples=200), champion=half)["decision"] == "promote"


def test_right_answers_in_own_words_are_promoted_over_a_base_that_copies_whole_passages(evaluation):
    found = evaluation.judged(copied, own_words, GateConfig(resamples=200), champion=copied)
    worse = {each["name"] for each in found["comparisons"]["base"] if each["verdict"] == "worse"}
    assert (found["decision"], "faithfulness" in worse) == ("promote", True)


def another_name(number, row):
    """Another builder, and another word of the same passages for what was carried."""
    others = dict(zip(BUILDERS, BUILDERS[1:] + BUILDERS[:1], strict=True)) | dict.fromkeys(GOODS, "sandstone")
    return re.sub("|".join(map(re.escape, others)), lambda found: others[found[0]], row.answer)


def denied(number, row):
    return row.answer.replace(" was begun", " was not begun").replace(" was paid", " was never paid")


def one_more_value(number, row):
    """The right answer, and another number beside each."""
    return re.sub(r"\d+", lambda found: f"{found[0]} or {int(found[0]) + 40}", row.answer)


def one_sentence(number, row):
    return row.answer.split(". ")[0] + "."


def whole_context(number, row):
    return "\n".join(row.context)


def empty(number, row):
    return ""


def refuses(number, row):
    return REFUSAL


def question(number, row):
    return row.query


def cited(number, row):
    return f'Sure! According to the passages, "{row.answer}" [1]'


def with_absence(number, row):
    return f"{row.answer} The passages do not say who owned it."


def share_right(system) -> float:
    asked = [(number, row) for number, row in enumerate(ROWS[:150]) if not row.refusal]
    return fmean(
        correct(Row(row.query, ContextView(row.context), system(number, row), reference=row.answer))
        for number, row in asked
    )


WRONG = [
    another_value, another_name, next_document, other_question, first_passage, denied, one_more_value, one_sentence,
    empty, refuses, question,
]  # fmt: skip


@pytest.mark.parametrize("system", WRONG)
def test_no_wrong_answer_counts_as_right(system):
    assert share_right(system) <= 0.05


@pytest.mark.parametrize("system", [right, own_words, cited, with_absence])
def test_right_answers_count_as_right_in_whatever_form(system):
    assert share_right(system) >= 0.95


def test_copying_all_that_was_retrieved_is_no_answer(evaluation):
    found = evaluation.judged(half, whole_context, GateConfig(resamples=200))
    assert (found["decision"], "right answers" in found["why"].lower()) == ("refuse", True)
