"""Solved examples before a question: the nearest ones, refusals in their share, nothing of the questions themselves."""

import pytest

from tasks.data.solved import read_shots, with_examples
from tasks.data.triplets import Triplet, read_triplets
from tasks.engine.errors import UserError
from tasks.models.model import load_tokenizer
from tasks.prompts import Prompt
from tasks.shots import ShotsConfig, shots
from tests.tasks.evaluation.rows import write_rows
from tests.tasks.reporting.reported import BASE
from tests.tasks.tiny import COURSE

PARTS = ("valve", "gasket", "impeller", "bearing", "rotor", "flange", "sensor", "filter")
ASKED = [
    Triplet(f"q{n}", f"asked {n}", f"How heavy is the {part}?", (f"A {part}.",), "?") for n, part in enumerate(PARTS)
]


def solved(number: int, query: str, *, refusal: bool = False, document: str | None = None) -> Triplet:
    answer = "Not stated." if refusal else f"{number} kg"
    passages = (f"It weighs {number} kg; sheet {number}.",)
    return Triplet(f"s{number}", document or f"solved {number}", query, passages, answer, refusal=refusal)


def chosen(tmp_path, examples, count, asked=ASKED):
    rows, known = write_rows(tmp_path / "rows", asked), write_rows(tmp_path / "examples", examples)
    out = tmp_path / "shots"
    out.mkdir()
    shots(ShotsConfig(shots=count), rows=rows, examples=known, out=out)
    return read_shots(out)


def test_the_nearest_questions_are_chosen_and_the_nearest_stands_last(tmp_path):
    examples = [solved(n, f"What is the weight of the {part}?") for n, part in enumerate(PARTS)]
    examples += [solved(20 + n, f"How heavy is the {part} with its {part} case?") for n, part in enumerate(PARTS)]
    found = chosen(tmp_path, examples, 2)
    for part, rows in zip(PARTS, found, strict=True):
        assert all(part in row.query for row in rows)
        assert rows[-1].query.startswith("How heavy")


def test_refusals_are_among_them_in_their_share(tmp_path):
    asked = [row._replace(id=f"{row.id}/{n}") for n in range(50) for row in ASKED]
    examples = [solved(n, f"Where is the {PARTS[n % 8]} kept?", refusal=n % 4 == 0) for n in range(80)]
    found = chosen(tmp_path, examples, 3, asked)
    assert all(len(rows) == 3 for rows in found)
    refusing = [sum(row.refusal for row in rows) for rows in found]
    assert set(refusing) == {0, 1} and sum(refusing) / len(refusing) == pytest.approx(0.75, abs=0.1)


def test_nothing_that_shares_a_document_or_a_passage_with_the_questions_is_shown(tmp_path):
    same = ASKED[0]
    leaks = [solved(1, same.query, document=same.document), solved(2, same.query)._replace(context=same.context)]
    found = chosen(tmp_path, [*leaks, solved(3, "What colour is it?")], 2)
    assert {row.id for rows in found for row in rows} == {"s3"}
    with pytest.raises(UserError, match="other documents"):
        chosen(tmp_path / "only", leaks, 2)


def test_examples_stand_before_a_question_as_turns_do_as_many_as_fit(tmp_path):
    tokenizer = load_tokenizer(BASE)
    prompt = Prompt.load(COURSE, tokenizer)
    (ids,) = prompt.encode_prompts([ASKED[0].asked])
    examples = [solved(n, f"Is part {n} here?") for n in range(3)]
    (whole,) = with_examples(prompt, [ASKED[0].asked], [examples], 10_000)
    text = tokenizer.decode(whole)
    assert [text.index(row.query) for row in examples] == sorted(text.index(row.query) for row in examples)
    assert text.index(examples[-1].answer) < text.index(ASKED[0].query)
    assert text.count("<s>") == 1 and text.endswith(tokenizer.decode(ids)[-20:])
    (fewer,) = with_examples(prompt, [ASKED[0].asked], [examples], len(whole) - 1)
    assert examples[0].query not in tokenizer.decode(fewer) and examples[1].query in tokenizer.decode(fewer)
    (none,) = with_examples(prompt, [ASKED[0].asked], [examples], len(ids))
    assert none.tolist() == ids.tolist()


def test_what_was_chosen_is_read_as_it_was_written(tmp_path):
    examples = [solved(n, f"How heavy is the {part}?") for n, part in enumerate(PARTS)]
    found = chosen(tmp_path, examples, 1)
    assert [rows[0] for rows in found] == list(read_triplets(tmp_path / "examples"))
