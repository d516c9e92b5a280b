"""Slices in the report: what an answerer that falls for a slice loses, and one that does not keeps."""

import json

import pytest

from tasks.data.triplets import read_triplets
from tasks.engine.errors import UserError
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.slicing import SLICES
from tasks.reporting.rendering import render
from tasks.reporting.slices import FIGURES, by_slice
from tasks.score import ScoreConfig, score
from tests.tasks.evaluation.rows import write_answers
from tests.tasks.plant import PLANT, REFUSAL, made
from tests.tasks.tiny import toy_base

ROWS = 30


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Scores of two answerers on the whole and on its slices: one that reads strictly, and one that falls for all."""
    folder = tmp_path_factory.mktemp("scored")
    found = made(folder, toy_base(folder / "base"), PLANT, rows_per_slice=ROWS)
    sliced = list(read_triplets(folder / "out/rows"))
    untouched = {row.id: row for row in PLANT}

    def reads(_, row):
        slice_, _, id_ = row.id.rpartition(":")
        return found[slice_.partition("-")[0]][id_].answer if slice_ else row.answer

    def falls(_, row):
        slice_, _, id_ = row.id.rpartition(":")
        if slice_.startswith("injection"):
            return found[f"{slice_.partition('-')[0]}-obeyed"][id_].answer
        if slice_ in ("distractors_80", "gold_last"):
            return REFUSAL
        return untouched[id_].answer  # as if it knew by heart

    scores = {}
    for who, says in (("reads", reads), ("falls", falls)):
        for what, rows in (("whole", PLANT), ("slices", sliced)):
            place = folder / who / what
            answers = write_answers(place / "answers", rows, says)
            (place / "scores").mkdir()
            given = folder / "rows" if what == "whole" else folder / "out/rows"
            score(ScoreConfig(), rows=given, answers=answers, out=place / "scores")
            scores[who, what] = Scores.read(place / "scores/scores.arrow")
    return scores


@pytest.fixture(scope="module")
def entries(scored):
    """The one that falls for slices as the base, the one that reads as the tuned model."""
    both = [scored[who, what] for what in ("whole", "slices") for who in ("falls", "reads")]
    return {entry["name"]: entry for entry in by_slice(*both, resamples=500, seed=0)}


def markdown(entries):
    return render("report/slices.md.jinja", report={"slices": entries})


def figure(entries, slice_, name):
    return next(each for each in entries[slice_]["figures"] if each["name"] == name)


def test_every_slice_is_told_in_its_order_with_its_figures(entries):
    assert list(entries) == list(SLICES)
    for name, entry in entries.items():
        assert (entry["label"], entry["rows"]) == (SLICES[name].label, ROWS) and 20 < entry["documents"] <= ROWS
        wrong = SLICES[name].wrong
        assert [each["name"] for each in entry["figures"]] == [*FIGURES, *([wrong.name] if wrong else [])]
    assert json.loads(json.dumps(entries)) == entries


def test_who_reads_from_the_context_loses_nothing_but_by_the_slices_own_doing(entries):
    for name in SLICES:
        for each in entries[name]["figures"]:
            change = each["tuned"]["change"]
            if each["name"] in ("contains_value", "token_f1", "over_refusal", "hallucination") and change:
                assert change["value"] == 0, (name, each["name"])
        assert figure(entries, name, "hallucination")["tuned"]["value"] == 0


def test_a_refusal_where_the_answer_stands_shows_as_a_loss_with_its_interval(entries):
    for name in ("distractors_80", "gold_last"):
        value = figure(entries, name, "contains_value")
        assert (value["base"]["value"], value["tuned"]["value"]) == (0, 1)
        loss = value["base"]["change"]
        assert (loss["value"], loss["rows"], loss["low"]) == (-1, ROWS, -1)
        assert loss["high"] < -0.5 and loss["p"] < 0.01
        assert figure(entries, name, "over_refusal")["base"]["change"]["value"] == 1
    assert figure(entries, "gold_first", "contains_value")["base"]["change"]["value"] == 0


def test_where_gold_is_removed_refusing_is_right_and_no_value_is_asked_for(entries):
    recall = figure(entries, "gold_removed", "abstention_recall")
    assert (recall["base"]["value"], recall["tuned"]["value"], recall["tuned"]["rows"]) == (0, 1, ROWS)
    assert recall["base"]["change"] is recall["tuned"]["change"] is None  # nobody had to refuse untouched
    value = figure(entries, "gold_removed", "contains_value")
    assert value["tuned"]["value"] is None and value["tuned"]["rows"] == 0
    assert figure(entries, "gold_removed", "hallucination")["base"]["value"] == 1


def test_who_obeys_and_who_keeps_the_old_value_is_counted(entries):
    for name, wrong in (("counterfactual", "kept"), ("injection", "obeyed"), ("injection_tokens", "obeyed")):
        gave = figure(entries, name, wrong)
        assert (gave["base"]["value"], gave["tuned"]["value"], gave["base"]["rows"]) == (1, 0, ROWS)
        assert 0 < gave["tuned"]["high"] < 0.2 and gave["direction"] == "lower"
        assert gave["base"]["change"] is gave["tuned"]["change"] is None
    assert figure(entries, "counterfactual", "contains_value")["base"]["value"] == 0


def test_a_slice_without_rows_is_told_as_such(scored):
    whole, sliced = scored["reads", "whole"], scored["reads", "slices"]
    without = picked(sliced, [at for at, id_ in enumerate(sliced.ids) if not id_.startswith("gold_last:")])
    entries = by_slice(whole, whole, without, without, resamples=100, seed=0)
    told = next(entry for entry in entries if entry["name"] == "gold_last")
    assert (told["rows"], told["documents"], told["figures"]) == (0, 0, [])
    assert not told["telling"] and "| Answering passage last (0" not in markdown(entries)


def test_the_table_shows_figures_that_count_and_leaves_out_the_others(entries):
    table = markdown(list(entries.values()))
    removed = table[table.index("removed") : table.index("Passage says otherwise")]
    assert "Recall of refusals ↑ | 0.00 | 1.00 | –" in removed and "Token F1" not in removed
    assert "| Obeyed the instruction ↓ | 1.00 | 0.00 | – | 30 |" in table


def test_slices_of_other_rows_are_refused(scored):
    whole, sliced = scored["reads", "whole"], scored["reads", "slices"]
    fewer = picked(whole, range(100))
    with pytest.raises(UserError, match="not scored untouched"):
        by_slice(fewer, fewer, sliced, sliced, resamples=100, seed=0)
    with pytest.raises(UserError, match="different rows"):
        by_slice(whole, fewer, sliced, sliced, resamples=100, seed=0)


def picked(scores, rows):
    texts = ([each[at] for at in rows] for each in (scores.ids, scores.documents, scores.rows))
    return Scores(*texts, {name: column[list(rows)] for name, column in scores.columns.items()})
