"""What goes back to the author: rows in doubt are found, sound ones are not; failures lead to what training taught."""

import json
import time

import pytest

from tasks.data.triplets import LEFT_OUT, Triplet, TripletWriter
from tasks.reporting.feedback import Failure, doubtful, learnt_from
from tasks.reporting.similar import Question, nearest_rows
from tasks.text import content_stems
from tests.tasks.evaluation.rows import REFUSAL, triplets, write_rows

SOUND = triplets(20)
ANSWERED = [row for row in SOUND if not row.refusal]


def fails(folder, rows, **settings):
    found = doubtful(write_rows(folder / "rows", rows), **{"threshold": 0.48, **settings})
    return {row["id"]: [each["what"] for each in row["fails"]] for row in found["listed"]}, found


def test_sound_rows_are_not_listed(tmp_path):
    listed, found = fails(tmp_path, SOUND)
    assert not listed
    assert {**found, "listed": []} == {"rows": 40, "failing": 0, "unscored": 0, "listed": []}


def test_each_way_to_fail_is_named_with_its_value_and_remedy(tmp_path):
    one, other = ANSWERED[0], ANSWERED[1]
    spoiled = {
        "wrong context": (one._replace(context=other.context[1:], gold=None), "support"),
        "number": (one._replace(answer=one.answer.replace("1937", "1944")), "absent_number"),
        "name": (one._replace(answer=one.answer + " It was painted by Sigrid Amundsen."), "absent_entity"),
        "refusal that answers": (one._replace(answer=f"{REFUSAL} However, {one.answer}"), "partial_refusal"),
        "refusal in vain": (one._replace(answer=REFUSAL, refusal=True), "answerable_refusal"),
    }
    rows = [*SOUND, *(row._replace(id=id_) for id_, (row, _) in spoiled.items())]
    listed, found = fails(tmp_path, rows)
    assert list(listed) == list(spoiled)
    assert all(what in listed[id_] for id_, (_, what) in spoiled.items())
    assert found["failing"] == len(spoiled)
    told = {each["id"]: each for each in found["listed"]}
    assert told["number"]["fails"][-1]["value"] == "14 May 1944"
    assert all(each["remedy"] for row in found["listed"] for each in row["fails"])
    assert json.loads(json.dumps(found)) == found


def test_a_reference_without_content_is_counted_not_judged(tmp_path):
    listed, found = fails(tmp_path, [ANSWERED[0]._replace(answer="Yes.")])
    assert not listed and found["unscored"] == 1


def test_no_more_are_listed_than_asked_for_and_all_are_counted(tmp_path):
    rows = [row._replace(answer="It was made in 1777.") for row in ANSWERED]
    listed, found = fails(tmp_path, rows, most=5)
    assert len(listed) == 5 and found["failing"] == len(rows)


TRAINING = [
    Triplet("speed", "P-1", "What is the motor speed of P-1?", ("Motor speed of P-1: 960 rpm.",), "960 rpm.", (0,)),
    Triplet("long", "P-2", "Who built P-2?", ("P-2 was built by Olm in 1990.",), "P-2 was built by Olm.", (0,)),
    Triplet("refused", "P-3", "Where is P-3 kept?", ("P-3 is a pump of brass.",), REFUSAL, (), None, True),
    Triplet("weight", "P-4", "How heavy is P-4?", ("Belt width: 5 m.", "Dry weight of P-4: 12 kg."), "12 kg.", (1,)),
    Triplet("left out", "P-5", "What is the motor speed of P-9?", ("Motor speed of P-9: 700 rpm.",), "700 rpm.", (0,)),
]


@pytest.fixture
def training(tmp_path):
    folder = write_rows(tmp_path / "training", TRAINING[:2])
    with TripletWriter(folder / "second.arrow") as writer:
        for row in TRAINING[2:]:
            writer.add(row)
    (folder / LEFT_OUT).write_text(json.dumps({"second.arrow": [2]}))
    return folder


def failure(query, passage, answer, said, **more):
    return Failure(Triplet("f", "P-9", query, (passage,), answer, **more), said)


def test_the_most_similar_training_row_comes_first_and_one_that_was_left_out_never(training):
    (found,) = learnt_from(
        [failure("What is the motor speed of P-9?", "Motor speed of P-9: 700 rpm.", "700 rpm.", "960 rpm.")], training
    )
    nearest = found["nearest"]
    assert nearest[0]["id"] == "speed" and len(nearest) == 3
    assert "left out" not in [each["id"] for each in nearest]
    assert nearest[0]["why"] == ["the tuned model gave this row's answer"]
    assert nearest[0]["similarity"] == pytest.approx((nearest[0]["question"] + nearest[0]["passage"]) / 2, abs=0.002)
    assert [each["similarity"] for each in nearest] == sorted((e["similarity"] for e in nearest), reverse=True)
    assert found["note"] is None
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (
            failure("Who built P-2?", "P-2 was built by Ash.", "Ash.", "Olm"),
            "answered in another form: 6 words there, 1 here",
        ),
        (failure("Where is P-3 kept?", "P-3 is kept in bay 4.", "Bay 4.", REFUSAL), "refused in training"),
        (failure("Who built P-2?", "P-2 is red.", REFUSAL, "Olm.", refusal=True), "answered in training"),
    ],
)
def test_what_may_have_taught_a_failure_is_said(training, told, why):
    (found,) = learnt_from([told], training)
    assert why in found["nearest"][0]["why"][0]


def test_a_question_like_none_in_training_is_called_so(training):
    (found,) = learnt_from(
        [failure("Which violinist retired?", "Ana Vik retired early.", "Ana Vik.", "12 kg.")], training
    )
    assert found["note"] and "nothing like it" in found["note"]
    assert learnt_from([], training) == []


def test_similarities_are_the_shares_of_idf_mass_that_a_plain_loop_finds(training):
    from math import log

    asked = [
        Question("How heavy is P-9?", ["Dry weight of P-9: 70 kg."]),
        Question("Who built P-9?", ["Olm built it."]),
    ]
    texts = [(row.query, " ".join(row.context[at] for at in row.gold) or row.context[0]) for row in TRAINING[:4]]
    held = [[set(content_stems(text[field])) for text in texts] for field in (0, 1)]

    def share(said, field, row):
        weights = {
            stem: log((1 + 4) / (1 + sum(stem in h for h in held[field]))) + 1 for stem in set(content_stems(said))
        }
        return sum(w for stem, w in weights.items() if stem in held[field][row]) / sum(weights.values())

    for each, nearest in zip(asked, nearest_rows(asked, training, top=4), strict=True):
        told = {near.row.id: (near.question, near.passage) for near in nearest}
        for row, triplet in enumerate(TRAINING[:4]):
            wanted = share(each.query, 0, row), share(" ".join(each.passages), 1, row)
            assert told[triplet.id] == pytest.approx(wanted, abs=1e-5)


def test_rows_in_other_scripts_are_found_too_by_the_same_words(tmp_path):
    """By bytes, a word kept its capitals and whatever punctuation beyond ASCII stood beside it."""
    said = Triplet("ru", "Н-1", "Какое Давление у насоса «Н-1»?", ("Давление насоса «Н-1» — 16 бар.",), "16 бар.", (0,))
    folder = write_rows(tmp_path / "rows", [*TRAINING[:4], said])
    (nearest,) = nearest_rows([Question("какое давление у насоса Н-1", ["ДАВЛЕНИЕ насоса Н-1: 16 бар"])], folder, top=1)
    assert nearest[0].row.id == "ru"
    assert (nearest[0].question, nearest[0].passage) == (pytest.approx(1), pytest.approx(1))


def test_twenty_thousand_training_rows_are_looked_through_in_seconds(tmp_path):
    """In CPU time: 0.1 ms a row, with room for a slow machine."""
    rows = triplets(50)
    folder = tmp_path / "rows"
    folder.mkdir()
    for part in range(10):
        with TripletWriter(folder / f"{part}.arrow") as writer:
            for number in range(2_000):
                writer.add(rows[number % 100]._replace(id=f"{part}-{number}"))
    asked = [Question(row.query, row.context) for row in rows[:10]]
    began = time.process_time()
    found = nearest_rows(asked, folder, top=3)
    assert time.process_time() - began < 20_000 * 1e-3
    assert [len(each) for each in found] == [3] * 10
    assert found[0][0].row.id == "0-0"
