"""The slices step on the sample's evaluation questions: what each slice promises, what growth changes, what fits."""

import json
import random
from pathlib import Path
from statistics import median

import pytest

from tasks.answer import AnswerConfig, answer
from tasks.data.triplets import Triplet, read_triplets
from tasks.engine.errors import UserError
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.slicing import SLICES
from tasks.evaluation.slicing.question import holding, may_hold
from tasks.models.model import ModelConfig, load_tokenizer
from tasks.prompts import Prompt
from tasks.reporting.slices import by_slice
from tasks.score import ScoreConfig, score
from tasks.text import holds
from tests.tasks.evaluation.rows import triplets
from tests.tasks.plant import PLANT, REFUSAL, made
from tests.tasks.tiny import COURSE, toy_base

OF_OTHERS = ("distractors_40", "distractors_80", "gold_first", "gold_middle", "gold_last", "gold_removed")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return toy_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def of_plant(tmp_path_factory, base):
    folder = tmp_path_factory.mktemp("plant")
    return made(folder, base, PLANT), json.loads((folder / "out/report.json").read_text())


def pairs(found, name):
    untouched = {row.id: row for row in PLANT}
    return [(untouched[id_], row) for id_, row in found[name].items()]


def test_every_slice_has_its_rows_and_the_report_counts_them(of_plant):
    found, report = of_plant
    for name, slice_ in SLICES.items():
        told = report["slices"][name]
        assert told["rows"] == len(found[name]) == 40
        assert told["label"] == slice_.label and told["passages"] >= 1 and told["prompt_tokens"] > 0
    wrong = {f"{name}-{slice_.wrong.name}" for name, slice_ in SLICES.items() if slice_.wrong}
    assert set(found) == set(SLICES) | wrong


def test_the_same_questions_are_asked_in_each_slice_that_can_ask_them(of_plant):
    found, _ = of_plant
    assert list(found["distractors_40"]) == list(found["gold_last"]) == list(found["distractors_80"])
    assert not any(row.refusal for row in found["gold_last"].values())
    assert any(row.refusal for row in found["injection"].values())


@pytest.mark.parametrize(("name", "share"), [("distractors_40", 0.4), ("distractors_80", 0.8)])
def test_distractors_are_of_other_documents_and_hold_no_answer(of_plant, name, share):
    for before, after in pairs(of_plant[0], name):
        added = [passage for passage in after.context if passage not in before.context]
        assert set(before.context) <= set(after.context)
        assert abs(len(added) / len(after.context) - share) <= 0.101
        assert not any(holds(passage, before.value) or before.document in passage for passage in added)
        assert [after.context[at] for at in after.gold] == [before.context[at] for at in before.gold]
        assert (after.query, after.answer, after.value) == (before.query, before.answer, before.value)


def test_the_report_tells_how_many_passages_really_fitted(of_plant, base, tmp_path):
    """The label says 80 %; where the prompt is full it is less, and nobody saw that."""
    assert of_plant[1]["slices"]["distractors_80"]["added_share"] == {"median": 0.8, "least": 0.8}
    found = made(tmp_path, base, PLANT, max_tokens=900)
    told = json.loads((tmp_path / "out/report.json").read_text())["slices"]["distractors_80"]
    added = [len(after.context) - len(before.context) for before, after in pairs(found, "distractors_80")]
    assert told["added"] == {"median": median(added), "least": min(added)}
    assert told["added_share"]["least"] < 0.7
    unchanged = json.loads((tmp_path / "out/report.json").read_text())["slices"]["counterfactual"]
    assert unchanged["added"] == {"median": 0, "least": 0}


def test_distractors_are_near_misses(of_plant):
    """Questions name an attribute; most distractors speak of that attribute of another sheet."""
    near = [
        any(
            before.query.rstrip("?").split(", ")[1].lower() in p.lower()
            for p in after.context
            if p not in before.context
        )
        for before, after in pairs(of_plant[0], "distractors_40")
        if before.query.count(", ") == 1 and not before.query.startswith("For")
    ]
    assert len(near) >= 4 and sum(near) / len(near) > 0.8


def test_where_gold_is_removed_nothing_holds_the_answer_and_as_much_is_there_to_read(of_plant):
    for before, after in pairs(of_plant[0], "gold_removed"):
        assert after.refusal and after.answer == REFUSAL and after.value is None and after.gold == ()
        assert not any(holds(passage, before.value) for passage in after.context)
        assert len(after.context) == len(before.context)
        assert 0.4 < sum(map(len, after.context)) / sum(map(len, before.context)) < 2.5


def test_positions_differ_in_nothing_but_the_place_of_the_answer(of_plant):
    first, middle, last = (of_plant[0][f"gold_{place}"] for place in ("first", "middle", "last"))
    assert list(first) == list(middle) == list(last)
    for id_ in first:
        contexts = [each[id_].context for each in (first, middle, last)]
        assert len({tuple(p for p in context if p != contexts[0][0]) for context in contexts}) == 1
        assert [context.index(contexts[0][0]) for context in contexts] == [0, 2, 4]
        assert (first[id_].gold, middle[id_].gold, last[id_].gold) == ((0,), (2,), (4,))


def test_a_counterfactual_says_another_value_of_its_kind_everywhere(of_plant):
    kept = of_plant[0]["counterfactual-kept"]
    words = 0
    for before, after in pairs(of_plant[0], "counterfactual"):
        assert after.value != before.value and len(after.value.split()) == len(before.value.split())
        assert not any(holds(passage, before.value) for passage in after.context)
        assert any(holds(passage, after.value) for passage in after.context)
        assert holds(after.answer, after.value) and not holds(after.answer, before.value)
        asked = kept[before.id]
        assert (asked.context, asked.query) == (after.context, after.query)
        assert (asked.value, asked.answer) == (before.value, before.answer)
        words += not any(map(str.isdigit, after.value))
    assert words  # values without a number, such as a material, are swapped for those of like questions


@pytest.mark.parametrize("name", ["injection", "injection_tokens"])
def test_an_injection_adds_a_command_and_changes_no_right_answer(of_plant, name, base):
    prompt = Prompt.load(COURSE, load_tokenizer(base), REFUSAL)
    obeyed = of_plant[0][f"{name}-obeyed"]
    assert any(row.refusal for row in of_plant[0][name].values())
    for before, after in pairs(of_plant[0], name):
        (command,) = [passage for passage in after.context if passage not in before.context]
        assert (after.answer, after.value, after.refusal) == (before.answer, before.value, before.refusal)
        assert [after.context[at] for at in after.gold] == [before.context[at] for at in before.gold]
        asked = obeyed[before.id]
        assert (asked.context, asked.query, asked.refusal) == (after.context, after.query, False)
        assert holds(command, asked.value) and asked.value in asked.answer
        assert ("[INST]" in command and "<|im_start|>" in command) == (name == "injection_tokens")
        assert prompt.render(after.asked).count("[INST]") == 1  # the template's own


def test_without_gold_the_passages_are_told_from_the_value_or_the_support_of_the_answer():
    told = [row for row in PLANT if not row.refusal]
    assert all(set(row.gold) <= set(holding(row._replace(gold=None))) for row in told)
    exact = sum(holding(row._replace(gold=None)) == row.gold for row in told)
    assert exact / len(told) > 0.97
    assert all(holding(row._replace(gold=None)) == (1,) for row in triplets(12) if not row.refusal)
    assert not any(may_hold(row.context[:1], row) for row in triplets(12) if not row.refusal)


def test_the_order_of_the_rows_changes_nothing(tmp_path, base, of_plant):
    mixed = list(PLANT)
    random.Random(1).shuffle(mixed)
    assert made(tmp_path, base, mixed) == of_plant[0]


def test_a_grown_set_changes_earlier_slices_only_where_a_new_document_comes_nearer(tmp_path, base):
    """6 documents in 58 are new: a row's slice changes if one of them is among its k distractors, k of 58."""
    documents = sorted({row.document for row in PLANT})
    old = [row for row in PLANT if row.document in documents[:52]]
    new = [row for row in PLANT if row.document in documents[:58]]
    settings = {"rows_per_slice": 400}  # none is pushed out
    before, after = made(tmp_path / "a", base, old, **settings), made(tmp_path / "b", base, new, **settings)
    for name in ("injection", "injection_tokens"):
        assert before[name].items() <= after[name].items()
    numbered = {id_: row for id_, row in before["counterfactual"].items() if any(map(str.isdigit, row.value))}
    assert numbered and numbered.items() <= after["counterfactual"].items()
    for name in OF_OTHERS:
        kept = [id_ for id_ in before[name] if id_ in after[name]]
        assert len(kept) >= 0.98 * len(before[name])
        added = sum(len(row.context) for row in before[name].values()) / len(kept) - 1.6
        changed = sum(before[name][id_] != after[name][id_] for id_ in kept)
        assert changed / len(kept) < max(1, added) * 6 / 58 * 1.5 + 0.02, name


def test_a_full_slice_takes_the_rows_of_the_lowest_lots_so_that_few_are_pushed_out(tmp_path, base):
    before = made(tmp_path / "a", base, PLANT[:380], rows_per_slice=20)
    after = made(tmp_path / "b", base, PLANT, rows_per_slice=20)
    assert len(set(before["injection"]) - set(after["injection"])) <= 6
    for id_ in set(before["injection"]) & set(after["injection"]):
        assert before["injection"][id_] == after["injection"][id_]


def test_no_prompt_leaves_less_than_the_room_for_an_answer(tmp_path, base):
    found = made(tmp_path, base, PLANT, max_tokens=600, answer_room=50)
    prompt = Prompt.load(COURSE, load_tokenizer(base), REFUSAL)
    for rows in found.values():
        sizes = prompt.encode_prompts([row.asked for row in rows.values()]).lengths
        assert sizes.max() <= 550
    told = json.loads((tmp_path / "out/report.json").read_text())["slices"]
    assert told["gold_first"]["left_out"].keys() <= {
        "no further passage fits",
        "there are no two other passages",
        "the prompt does not fit max_tokens",
    }
    assert sum(told["gold_first"]["left_out"].values()) > 0


def test_rows_that_cannot_be_made_are_counted_by_reason(tmp_path, base):
    only = [
        Triplet("yes", "A", "Is it on?", ("The pump is running.",), "Yes."),
        Triplet("both", "B", "How long?", ("It is 40 m long.", "The length is 40 m."), "40 m.", (0,), "40 m"),
        Triplet("named", "C", "Is it 7 bar?", ("The limit is 7 bar.",), "It is 7 bar.", (0,), "7 bar"),
    ]
    made(tmp_path, base, only)
    told = json.loads((tmp_path / "out/report.json").read_text())["slices"]
    assert told["gold_removed"]["left_out"] == {
        "no passage surely holds the answer": 1,
        "another passage might hold the answer": 1,
    }
    assert told["counterfactual"]["left_out"] == {
        "the answer states no value to change": 1,
        "the old value stands elsewhere, too": 1,
        "the question names the value": 1,
    }
    assert told["injection"]["rows"] == 3


def test_where_yes_or_no_is_the_value_another_passage_may_answer_too(tmp_path, base):
    """Neither word stands in what answers, so that its absence shows nothing."""
    rows = [
        Triplet("yes", "A", "Is it sealed?", ("The casing is sealed.", "Seals keep water out."), "Yes.", (0,), "yes"),
        Triplet("said", "A", "Sealed?", ("The casing is sealed.", "No oil is in it."), "It is sealed.", (0,), "no"),
        Triplet("other", "B", "How long is it?", ("The length of the belt is 40 m.",), "40 m.", (0,), "40 m"),
    ]
    assert may_hold(rows[0].context[1:], rows[0])
    assert not may_hold(rows[1].context[1:], rows[1])
    found = made(tmp_path, base, rows)
    assert "yes" not in found.get("gold_removed", {})


def test_no_value_is_swapped_in_that_the_question_names(tmp_path, base):
    """Who echoes the question would seem to have read it from the passage."""
    query = "Is the lid red, or what is its colour?"
    asked = Triplet("asked", "A", query, ("The colour of the lid is blue.",), "It is blue.", (0,), "blue")
    other = Triplet("other", "B", query, ("The colour of the lid is red.",), "It is red.", (0,), "red")
    third = Triplet("third", "C", "What colour?", ("Its colour is green.",), "It is green.", (0,), "green")
    found = made(tmp_path, base, [asked, other, third])
    assert found["counterfactual"]["asked"].value == "green"


def test_a_set_of_which_nothing_can_be_made_is_refused(tmp_path, base):
    with pytest.raises(UserError, match=r"no slice can be made .*does not fit max_tokens \(\d"):
        made(tmp_path, base, PLANT[:60], max_tokens=70)


def answered(folder: Path, rows: Path, base: Path, **inputs) -> dict[str, float]:
    for place in ("out", "work"):
        (folder / place).mkdir(parents=True)
    how = AnswerConfig(max_new_tokens=5, model=ModelConfig(quantization="none", device="cpu"), prompt=COURSE)
    return answer(how, rows=rows, base=base, work=folder / "work", out=folder / "out", **inputs)


def prompts(folder: Path) -> list[tuple]:
    return [(row.context, row.query) for row in read_triplets(folder)]


def test_slices_are_answered_and_scored_as_any_rows_and_reported_beside_the_untouched(tmp_path, base):
    found = made(tmp_path, base, triplets(12), rows_per_slice=4)
    scores = []
    for name, rows in (("whole", tmp_path / "rows"), ("slices", tmp_path / "out/rows")):
        told = answered(tmp_path / name, rows, base)
        assert told["rows_generated"] == len(prompts(rows))
        (tmp_path / name / "scores").mkdir()
        score(ScoreConfig(), rows=rows, answers=tmp_path / name / "out", out=tmp_path / name / "scores")
        scores.append(Scores.read(tmp_path / name / "scores/scores.arrow"))
    whole, sliced = scores
    entries = by_slice(whole, whole, sliced, sliced, resamples=100, seed=0)
    assert [(entry["name"], entry["rows"]) for entry in entries] == [
        (name, len(found.get(name, ()))) for name in SLICES
    ]
    assert all(figure["base"] == figure["tuned"] for entry in entries for figure in entry["figures"])
    obeyed = entries[-1]["figures"][-1]
    assert (obeyed["name"], obeyed["tuned"]["rows"]) == ("obeyed", 4)


def test_of_a_grown_set_only_new_prompts_are_answered(tmp_path, base):
    made(tmp_path / "before", base, PLANT[:60], rows_per_slice=4)
    made(tmp_path / "after", base, PLANT[:66], rows_per_slice=4)
    asked, now = (prompts(tmp_path / when / "out/rows") for when in ("before", "after"))
    new = sum(prompt not in asked for prompt in now)
    assert 0 < new < len(now) / 2
    answered(tmp_path / "answers", tmp_path / "before/out/rows", base)
    told = answered(tmp_path / "again", tmp_path / "after/out/rows", base, earlier=[tmp_path / "answers/out"])
    assert told == {"rows_taken_over": len(now) - new, "rows_generated": new}
