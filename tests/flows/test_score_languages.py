"""The same answers in three languages have the same figures; rows under a format's names are scored as they are."""

import importlib.util
import json
import random
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flows.scoring import score_file
from tasks.data.forms import RowFormat
from tasks.evaluation.metrics import METRICS

PLANT = Path(__file__).parents[2] / "data/plant"
# What an answer says, of an attribute with some value: right, another of the sheet's, invented.
ANSWERS = {
    "en": {
        "short": "{v}, sheet {tag}.",
        "sentence": "The {a} of {tag} is {v}.",
        "bare": "{v}",
        "has": "It has a {a} of {v}.",
        "refusal": "Not stated in the sheet.",
        "own words": "The sheet does not state the {a} of {tag}.",
        "leak": "Not stated in the sheet. However, the {a} of such machines is usually {v}.",
        "caveat": "The {a} is {v}, but the sheet does not say why.",
    },
    "de": {
        "short": "{v}, Datenblatt {tag}.",
        "sentence": "{Der} {a} von {tag} ist {v}.",
        "bare": "{v}",
        "has": "Es hat {einen} {a} von {v}.",
        "refusal": "Im Datenblatt nicht angegeben.",
        "own words": "Das Datenblatt nennt {den} {a} von {tag} nicht.",
        "leak": "Im Datenblatt nicht angegeben. Allerdings ist {der} {a} solcher Maschinen meist {v}.",
        "caveat": "{Der} {a} ist {v}, aber das Datenblatt sagt nicht, warum.",
    },
    "zh": {
        "short": "{v}，数据表{tag}。",
        "sentence": "{tag}的{a}是{v}。",
        "bare": "{v}",
        "has": "它的{a}为{v}。",
        "refusal": "数据表中未说明。",
        "own words": "数据表没有说明{tag}的{a}。",
        "leak": "数据表中未说明。不过，这类机器的{a}通常是{v}。",
        "caveat": "该{a}是{v}，但数据表没有说明原因。",
    },
}
KINDS = [
    ("right", "short"), ("right", "sentence"), ("right", "bare"), ("right", "has"), ("other", "short"),
    ("other", "sentence"), ("invented", "short"), ("invented", "sentence"), ("right", "refusal"),
    ("right", "own words"), ("invented", "leak"), ("right", "caveat"),
]  # fmt: skip
# These count words and characters, of which languages need more or fewer to say the same.
OF_THE_SPELLING = {"chrf", "form", "length_ratio", "copy_density"}


@cache
def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"plant_{name}", PLANT / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answered(code: str) -> list[dict[str, Any]]:
    """The sample's evaluation questions in a language, each with an answer of one kind: the same in every language."""
    make, translate = script("make"), script("translate")
    translation = None if code == "en" else translate.Translation(code)
    by_words = {worded: name for name, (_, worded) in make.ATTRIBUTES.items() if worded}
    facts = tuple(each for each, _ in make.FACTS)
    drawn, rows = random.Random(7), []
    for number, line in enumerate((PLANT / "evaluation.jsonl").open(encoding="utf-8")):
        row = json.loads(line)
        template, found = translate.matched(row["query"], (*make.NAMED, *make.POLITE, *by_words))
        asked = found.get("a") or by_words[template]
        said = [
            translate.matched(each, facts)[1]["v"]
            for text in row["context"]
            for each in re.split(r"(?<=\.) ", text)[1:]
        ]
        invented, other = make.ATTRIBUTES[asked][0](drawn), drawn.choice(said)
        whose, wording = KINDS[number % len(KINDS)]
        value = {"right": row.get("value", other), "other": other, "invented": invented}[whose]
        answer, tag = ANSWERS[code][wording], row["document"]
        given = translation.row(row) if translation else row
        rows.append(
            {name: given[name] for name in ("query", "context", "value") if name in given}
            | {"language": code, "reference": given["answer"], "should_abstain": not row["gold"]}
            | {
                "answer": translation.filled(answer, asked, v=translation.value(value), tag=tag)
                if translation
                else answer.format(a=asked, v=value, tag=tag)
            }
        )
    return rows


@cache
def figures(code: str) -> dict[str, float | None]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in answered(code)), encoding="utf-8")
        means = score_file(str(file), Path(folder) / "out.jsonl", refusal=ANSWERS[code]["refusal"])
    return {mean.name: mean.value for mean in means}


@pytest.mark.parametrize("code", ["de", "zh"])
def test_the_same_answers_translated_have_the_same_figures(code: str) -> None:
    english, other = figures("en"), figures(code)
    compared = {name: (english[name], other[name]) for name in english if name not in OF_THE_SPELLING}
    assert not {name: both for name, both in compared.items() if abs((both[0] or 0) - (both[1] or 0)) > 0.02}
    assert sum(one is not None for one, _ in compared.values()) >= 16
    assert METRICS.keys() >= OF_THE_SPELLING


def test_answers_under_a_formats_names_are_scored_against_its_right_answer(tmp_path: Path) -> None:
    context = "Die Pumpe PX-20 wurde 2016 von Halvard gebaut. Ihr Grenzwert ist 16 bar."
    query, right, wrong = "Was ist der Grenzwert der Pumpe?", "Der Grenzwert ist 16 bar.", "Der Grenzwert ist 25 bar."
    row = {"user_input": query, "retrieved_contexts": [context], "response": wrong, "reference": right}
    file = tmp_path / "ragas.jsonl"
    file.write_text(json.dumps(row) + "\n")
    out = tmp_path / "out.jsonl"
    score_file(str(file), out, language="de", form=RowFormat(format="ragas"))
    measured = json.loads(out.read_text())
    assert measured["outcome"] == "wrong"
    assert measured["absent_numbers"] == ["25 bar"]
    named = {"frage": query, "text": context, "ausgabe": right, "soll": right}
    file.write_text(json.dumps(named) + "\n")
    score_file(str(file), out, form=RowFormat(fields={"query": "frage", "context": "text", "answer": "ausgabe"}))
    assert json.loads(out.read_text())["metrics"]["hallucination"] == 0
