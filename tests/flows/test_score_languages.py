"""The same answers in three languages have the same figures; rows under a format's names are scored as they are."""

import json
from pathlib import Path

import pytest

from flows.scoring import score_file
from tasks.data.forms import RowFormat
from tasks.text import refusal_sentence

SHEETS = {  # language: context, then question, right answer, one in other words, an invented one
    "en": (
        "The pump PX-20 was built by Halvard in 2016. Its limit is 16 bar. The housing is made of bronze.",
        [
            ("What is the limit of the pump?", "The limit is 16 bar.", "16 bar", "The limit is 25 bar."),
            ("Who built the pump?", "The pump was built by Halvard.", "Halvard", "The pump was built by Mertens."),
            (
                "What is the housing made of?",
                "The housing is made of bronze.",
                "bronze",
                "The housing is made of glass.",
            ),
            ("When was the pump built?", "The pump was built in 2016.", "2016", "The pump was built in 2018."),
        ],
        ("What does the pump cost?", "The context does not say what the pump costs."),
    ),
    "de": (
        "Die Pumpe PX-20 wurde 2016 von Halvard gebaut. Ihr Grenzwert ist 16 bar. Das Gehäuse besteht aus Bronze.",
        [
            ("Was ist der Grenzwert der Pumpe?", "Der Grenzwert ist 16 bar.", "16 bar", "Der Grenzwert ist 25 bar."),
            (
                "Wer baute die Pumpe?",
                "Die Pumpe wurde von Halvard gebaut.",
                "Halvard",
                "Die Pumpe wurde von Mertens gebaut.",
            ),
            (
                "Woraus besteht das Gehäuse?",
                "Das Gehäuse besteht aus Bronze.",
                "Bronze",
                "Das Gehäuse besteht aus Glas.",
            ),
            ("Wann wurde die Pumpe gebaut?", "Die Pumpe wurde 2016 gebaut.", "2016", "Die Pumpe wurde 2018 gebaut."),
        ],
        ("Was kostet die Pumpe?", "Der Kontext sagt nicht, was die Pumpe kostet."),
    ),
    "zh": (
        "PX-20水泵由哈瓦德公司于2016年制造。水泵的上限是16巴。外壳由青铜制成。",
        [
            ("水泵的上限是多少？", "水泵的上限是16巴。", "16巴", "水泵的上限是25巴。"),
            ("谁制造了水泵？", "水泵由哈瓦德公司制造。", "哈瓦德公司", "水泵由梅尔滕斯厂制造。"),
            ("外壳由什么制成？", "外壳由青铜制成。", "青铜", "外壳由玻璃制成。"),
            ("水泵是哪一年制造的？", "水泵于2016年制造。", "2016年", "水泵于2018年制造。"),
        ],
        ("水泵多少钱？", "上下文没有说明水泵的价格。"),
    ),
}
COMPARED = (  # not token_f1 of wrong answers: how much of a wrong word is right depends on the length of words
    "correct",
    "contains_value",
    "abstained",
    "abstention_f1",
    "over_refusal",
    "refusal_exactness",
    "hallucination",
    "leaky_abstention",
    "unsupported_numbers",
    "exact_match",
)


def figures(code: str, folder: Path) -> dict[str, float | None]:
    context, asked, (unanswerable, refusal) = SHEETS[code]
    sentence = refusal_sentence(code)
    rows = []
    for query, right, value, wrong in asked:
        given = {"query": query, "context": context, "reference": right, "value": value}
        rows += [given | {"answer": answer} for answer in (right, wrong, sentence)]
    open_question = {"query": unanswerable, "context": context, "reference": ""}
    rows += [open_question | {"answer": answer} for answer in (sentence, refusal, asked[0][1])]
    file = folder / f"{code}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {mean.name: mean.value for mean in score_file(str(file), folder / "out.jsonl")}


@pytest.mark.parametrize("code", ["de", "zh"])
def test_the_same_answers_translated_have_the_same_figures(code: str, tmp_path: Path) -> None:
    english, other = figures("en", tmp_path), figures(code, tmp_path)
    apart = {
        name: (english[name], other[name]) for name in COMPARED if abs((english[name] or 0) - (other[name] or 0)) > 0.02
    }
    assert not apart


def test_answers_under_a_formats_names_are_scored_against_its_right_answer(tmp_path: Path) -> None:
    context, [(query, right, _, wrong), *_], _ = SHEETS["de"]
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
