"""The sample domain: what its files promise, and that its script makes them again byte for byte."""

import json
import re
import runpy
from pathlib import Path

import pytest

PLANT = Path(__file__).parents[2] / "data" / "plant"
REFUSAL = "Not stated in the sheet."


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (PLANT / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


SPLITS = {name: rows(name) for name in ("train", "evaluation")}
SHEETS = {sheet["id"]: sheet for sheet in rows("documents")}


def pairs(split: str) -> list[list[dict]]:
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in SPLITS[split]:
        groups.setdefault((row["document"], row["query"]), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def test_the_script_writes_the_committed_bytes_again(tmp_path):
    runpy.run_path(str(PLANT / "make.py"))["make"](tmp_path)
    for name in ("documents", "train", "evaluation"):
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (PLANT / f"{name}.jsonl").read_bytes()


def test_there_are_rows_and_documents_enough_for_statistics():
    assert len(SPLITS["train"]) >= 480
    assert len(SPLITS["evaluation"]) >= 240
    assert len({row["document"] for row in SPLITS["evaluation"] if row["gold"]}) >= 100
    assert len({row["document"] for row in SPLITS["evaluation"] if not row["gold"]}) >= 100
    assert len({group[0]["document"] for group in pairs("evaluation")}) >= 100


def test_training_and_evaluation_share_no_sheet():
    tags = {name: set(re.findall(r"Data sheet ([A-Z]-\d+)", json.dumps(split))) for name, split in SPLITS.items()}
    assert tags["train"] and tags["evaluation"] and not tags["train"] & tags["evaluation"]
    assert all({row["document"] for row in split} <= tags[name] for name, split in SPLITS.items())


@pytest.mark.parametrize("split", SPLITS)
def test_ids_are_unique_and_fields_complete(split):
    assert len({row["id"] for row in SPLITS[split]}) == len(SPLITS[split])
    for row in SPLITS[split]:
        assert set(row) - {"value"} == {"id", "document", "query", "context", "answer", "gold"}
        assert row["document"] in SHEETS and row["query"] and all(row["context"])


@pytest.mark.parametrize("split", SPLITS)
def test_a_quarter_is_unanswerable_and_refused_in_one_sentence(split):
    unanswerable = [row for row in SPLITS[split] if not row["gold"]]
    assert abs(len(unanswerable) / len(SPLITS[split]) - 0.25) < 0.01
    assert all(row["answer"] == REFUSAL and "value" not in row for row in unanswerable)
    assert all(REFUSAL not in row["answer"] for row in SPLITS[split] if row["gold"])


@pytest.mark.parametrize("split", SPLITS)
def test_an_answer_is_the_value_of_its_gold_passage_and_the_sheet(split):
    for row in SPLITS[split]:
        if row["gold"]:
            (gold,) = row["gold"]
            passage = row["context"][gold]
            assert f" {row['value']}." in passage and f"sheet {row['document']}," in passage
            assert row["answer"] == f"{row['value']}, sheet {row['document']}."


@pytest.mark.parametrize("split", SPLITS)
def test_no_other_passage_holds_the_value(split):
    for row in SPLITS[split]:
        for i, passage in enumerate(row["context"]):
            assert i in row["gold"] or f" {row.get('value')}." not in passage


@pytest.mark.parametrize("split", SPLITS)
def test_contrast_pairs_ask_the_same_with_and_without_the_fact(split):
    found = pairs(split)
    assert len(found) >= 50
    for group in found:
        assert sorted(bool(row["gold"]) for row in group) == [False, True]
        without = next(row for row in group if not row["gold"])
        fact = next(row for row in group if row["gold"])["value"]
        assert all(f" {fact}." not in passage for passage in without["context"])


@pytest.mark.parametrize("split", SPLITS)
def test_every_fact_in_a_context_stands_in_its_sheet(split):
    for row in SPLITS[split]:
        for passage in row["context"]:
            head, *facts = re.split(r"(?<=\.) ", passage)
            sheet = SHEETS[re.search(r"sheet ([A-Z]-\d+)", head).group(1)]
            assert all(fact in sheet["text"] for fact in facts)
