"""Systems that sound right and are wrong, made from the sample's own answers: the gate refuses each, and says why."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from flows.config import TINY, load
from tasks.data.triplets import Triplet
from tasks.gate import GateConfig, GateRules
from tests.tasks.evaluation.gating.evaluation import Evaluation

PLANT = Path(__file__).resolve().parents[4] / "data/plant/evaluation.jsonl"
REFUSAL = "Not stated in the sheet."


def sample() -> list[Triplet]:
    rows = [json.loads(line) for line in PLANT.read_text().splitlines()]
    return [
        Triplet(
            row["id"],
            document=row["document"],
            query=row["query"],
            context=tuple(row["context"]),
            answer=row["answer"],
            gold=tuple(row.get("gold") or ()),
            value=row.get("value"),
            refusal=row["answer"] == REFUSAL,
        )
        for row in rows
    ]


ROWS = sample()
ANSWERABLE = [number for number, row in enumerate(ROWS) if not row.refusal]
OF_DOCUMENT = defaultdict(list)
for at in ANSWERABLE:
    OF_DOCUMENT[ROWS[at].document].append(at)


def neighbour(number: int, within: bool) -> Triplet:
    """Another answerable row with another value: of the same document if there is one and `within`."""
    near = OF_DOCUMENT[ROWS[number].document] if within else ANSWERABLE
    start = near.index(number)
    turned = [*near[start + 1 :], *near[:start], *ANSWERABLE]
    return next(ROWS[each] for each in turned if ROWS[each].value != ROWS[number].value)


def another_value(number, row):
    """The right form, the right sheet, the value of another question."""
    return row.answer if row.refusal else row.answer.replace(row.value, neighbour(number, within=True).value)


def shuffled(number, row):
    return row.answer if row.refusal else neighbour(number, within=True).answer


def next_question(number, row):
    return row.answer if row.refusal else neighbour(number, within=False).answer


def right(number, row):
    return row.answer


def courteous(number, row):
    courtesy = "I hope this helps! Let me know if you have any other questions."
    return row.answer if row.refusal else f"Sure! {row.answer} {courtesy}"


def answers_all(number, row):
    """A base that refuses nothing, and is right on two in three."""
    if row.refusal:
        return neighbour(ANSWERABLE[number % len(ANSWERABLE)], within=False).answer
    return row.answer if number % 3 else another_value(number, row)


def all_wrong(number, row):
    """A base that refuses nothing and is right on nothing."""
    asked = ANSWERABLE[number % len(ANSWERABLE)] if row.refusal else number
    return next_question(asked, ROWS[asked])


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return Evaluation(tmp_path_factory.mktemp("sample"), ROWS)


RULES = {
    "default": GateConfig(resamples=500),
    "sample": GateConfig(
        **{name: getattr(load(TINY, []).gate, name) for name in GateRules.model_fields if name != "resamples"},
        resamples=500,
    ),
}


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("base", [right, answers_all, all_wrong])
@pytest.mark.parametrize("system", [another_value, shuffled, next_question])
def test_right_in_form_and_wrong_in_value_is_refused_whatever_the_base_is(evaluation, rules, base, system):
    found = evaluation.judged(base, system, RULES[rules])
    assert found["decision"] == "refuse"
    assert "right answers" in found["why"].lower()


@pytest.mark.parametrize("system", [another_value, shuffled, next_question])
def test_right_in_form_and_wrong_in_value_is_refused_beside_a_champion_too(evaluation, system):
    found = evaluation.judged(all_wrong, system, RULES["default"], champion=answers_all)
    assert found["decision"] == "refuse"
    assert "right answers" in found["why"].lower()


@pytest.mark.parametrize("rules", RULES)
def test_courtesies_are_neither_punished_nor_does_leaving_them_out_promote(evaluation, rules):
    added = evaluation.judged(answers_all, courteous, RULES[rules])
    assert added["decision"] == "promote"
    for base, tuned in ((right, courteous), (courteous, right)):
        found = evaluation.judged(base, tuned, RULES[rules])
        assert found["decision"] == "undecided"
        (change,) = (each for each in found["comparisons"]["base"] if each["name"] == "hallucination")
        assert change["difference"]["value"] == pytest.approx(0, abs=0.01)


def yes_and_no() -> list[Triplet]:
    """Each answerable question as two: with its own value, and with another one."""
    rows = []
    for number in ANSWERABLE:
        row, other = ROWS[number], neighbour(number, within=True)
        for said, value in (("Yes.", row.value), ("No.", other.value)):
            query = f"{row.query} Is it {value}?"
            rows.append(Triplet(f"{row.id}-{said}", row.document, query, row.context, said, gold=row.gold))
    return rows


def swapped(number, row):
    return {"Yes.": "No.", "No.": "Yes."}[row.answer]


def always_yes(number, row):
    return "Yes."


@pytest.mark.parametrize("base", [right, always_yes])
def test_yes_for_no_and_no_for_yes_is_refused(tmp_path_factory, base):
    found = Evaluation(tmp_path_factory.mktemp("yes"), yes_and_no()).judged(base, swapped, RULES["default"])
    assert found["decision"] == "refuse"
    assert "right answers" in found["why"].lower()
