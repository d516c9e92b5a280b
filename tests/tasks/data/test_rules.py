"""Each rule by one row that it finds and one that it must leave alone; then levels, sketches and counts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.examine import SKETCH, repeats
from tasks.data.identity import normal
from tasks.data.rules import (
    RULES,
    Finding,
    Rules,
    is_verbatim,
    judge,
    says_there_is_none,
    with_refusal_marked,
)
from tasks.data.traces import CONTROL_TOKENS, control_tokens, misdecoded
from tasks.data.triplets import Triplet
from tasks.data.validation_report import Tally, markdown, percentiles, rejections
from tasks.text import ContextView

REFUSAL = "Not stated in the context."
CONTEXT = (
    "The feed pump P-101 runs at 1,450 rpm and was built by Nordwerk in nineteen ninety-eight. Its casing is made of "
    "cast iron. The mechanical seal is made of nitrile rubber and lasts two years."
)
GROUNDING = ("k_precision", "content_coverage", "bigram_coverage")
QUERY = "What is the seal of the pump made of?"
ANSWER = "The seal is made of nitrile rubber."


def row(**fields: Any) -> Triplet:
    given = {"query": QUERY, "context": (CONTEXT,), "answer": ANSWER} | fields
    return with_refusal_marked(Triplet(id="1", document="d", **given), REFUSAL)


def found(triplet: Triplet, **rules: Any) -> dict[str, Finding]:
    return {finding.rule: finding for finding in judge(triplet, Rules(**rules), REFUSAL)}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str, Any]] = {  # finds, leaves alone, level, value
    "control_tokens": (
        {"query": "Ignore this </s> and <|im_start|>?"},
        {"query": "Is 3 < 4 [see table] and <b>bold</b> | x |?"},
        "reject",
        "</s> <|im_start|>",
    ),
    "encoding": (
        {"context": (CONTEXT + " It costs 5 \ufffd.",)},
        {"context": (CONTEXT + " It costs 5 €, says André.",)},
        "warn",
        "U+FFFD, for bytes that were no character",
    ),
    "context_length": (
        {"context": (CONTEXT, "x" * 400_000)},
        {"context": (CONTEXT, "x" * 30_000)},
        "reject",
        400_000 + len(CONTEXT),
    ),
    "answer_length": (
        {"answer": CONTEXT * 100},
        {"answer": CONTEXT * 10},
        "reject",
        len(CONTEXT) * 100,
    ),
    "refusal_wording": (
        {"answer": "The context does not mention the seal."},
        {"answer": "not stated in the context"},
        "warn",
        "The context does not mention the seal.",
    ),
    "partial_refusal": (
        {"answer": f"{REFUSAL} However, seals of pumps are usually made of rubber."},
        {"answer": REFUSAL},
        "warn",
        f"{REFUSAL} However, seals of pumps are usually made of rubber.",
    ),
    "answerable_refusal": (
        {"query": "What is the mechanical seal made of?", "answer": ""},
        {"query": "What is the price of the gearbox?", "answer": ""},
        "warn",
        1.0,
    ),
    "k_precision": (
        {"answer": "I am sure that seals can come from synthetic nitrile rubber."},
        {"answer": "The seal of the pump is made of nitrile rubber."},
        "reject",
        0.182,
    ),
    "content_coverage": (
        {"answer": "The seal is ceramic and carbon, the casing is bronze."},
        {"answer": "The seals are rubber, the casing is iron."},
        "reject",
        0.4,
    ),
    "bigram_coverage": (
        {"answer": "Iron casing, nitrile seal, rubber pump, mechanical feed, Nordwerk rpm."},
        {"answer": "The feed pump was built by Nordwerk and its casing is cast iron."},
        "warn",
        0.0,
    ),
    "answer_language": (
        {"answer": "Die Dichtung der Pumpe besteht aus Nitrilkautschuk und hält zwei Jahre."},
        {"answer": "Seal: nitrile rubber; casing: cast iron; feed pump: Nordwerk."},
        "warn",
        "Die Dichtung der Pumpe besteht aus Nitrilkautschuk und hält zwei Jahre.",
    ),
    "absent_number": (
        {"answer": "The pump runs at 1,500 rpm."},
        {"answer": "The pump runs at 1450 rpm and lasts 2 years."},
        "reject",
        "1,500 rpm",
    ),
    "absent_entity": (
        {"answer": "The pump was built by Halvorsen in nineteen ninety-eight."},
        {"answer": "The feed pump P-101 was built by Nordwerk."},
        "warn",
        "Halvorsen",
    ),
}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_finds_what_it_is_for(rule: str) -> None:
    finds, _, level, value = CASES[rule]
    finding = found(row(**finds))[rule]
    assert (finding.level, finding.value) == (level, value)
    assert finding.remedy


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_leaves_a_sound_row_alone(rule: str) -> None:
    assert rule not in found(row(**CASES[rule][1]))
    assert not found(row())


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_that_is_off_finds_nothing(rule: str) -> None:
    off: Any = {"level": "off"} if hasattr(getattr(Rules(), rule), "level") else "off"
    assert rule not in found(row(**CASES[rule][0]), **{rule: off})


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_set_to_warn_never_rejects(rule: str) -> None:
    warn: Any = {"level": "warn"} if hasattr(getattr(Rules(), rule), "level") else "warn"
    assert found(row(**CASES[rule][0]), **{rule: warn})[rule].level == "warn"


@pytest.mark.parametrize("rule", GROUNDING)
def test_between_its_two_thresholds_a_rule_warns(rule: str) -> None:
    answer = "The seal is nitrile rubber and the casing seems bronze."
    share = getattr(ContextView([CONTEXT]), rule)(answer)
    limits = {"reject_below": share - 0.01, "warn_below": share + 0.01}
    assert found(row(answer=answer), **{rule: limits})[rule].level == "warn"
    assert rule not in found(row(answer=answer), **{rule: limits | {"warn_below": share}})


def test_every_rule_has_a_remedy_and_a_test() -> None:
    elsewhere = {"duplicate", "conflict", "repeated_id", "repeated_key", "no_answer"}  # tests/tasks/test_validate.py
    assert Rules.model_fields.keys() == CASES.keys() | elsewhere
    assert RULES.keys() == Rules.model_fields.keys() | {"malformed", "empty_answer"}


def test_one_threshold_can_be_set_and_the_others_keep_their_defaults() -> None:
    rules = Rules.model_validate({"k_precision": {"reject_below": 0.5}})
    assert (rules.k_precision.reject_below, rules.k_precision.warn_below) == (0.5, 0.86)


def test_what_is_not_grounded_is_named_in_the_remedy() -> None:
    finding = found(row(answer="The seals are ceramic, the casing is bronze."))["content_coverage"]
    assert finding.remedy == "take out, or give the passage that says: ceramic, bronze"


def test_a_short_answer_is_measured_by_its_content_alone() -> None:
    assert not found(row(answer="It is rubber then."))
    assert found(row(answer="It is steel then.")).keys() == {"content_coverage"}


NUMBERS = {
    "in words": ("The seal lasts 2 years.", []),
    "with a thousands separator": ("It runs at 1450 rpm.", []),
    "without one": ("It runs at 1,450 rpm.", []),
    "behind a letter": ("P-101 is a feed pump.", []),
    "as a list marker": ("1. cast iron\n2. nitrile rubber", []),
    "absent": ("It runs at 1,451 rpm.", ["1,451 rpm"]),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_are_compared_by_value_not_by_spelling(case: str) -> None:
    answer, absent = NUMBERS[case]
    finding = found(row(answer=answer)).get("absent_number")
    assert (finding.value if finding else "") == ", ".join(absent)


def test_a_refusal_is_settled_to_the_one_sentence() -> None:
    for answer in ("", REFUSAL, "not stated in the context", " Not stated,  in the context!"):
        settled = row(answer=answer)
        assert (settled.answer, settled.refusal) == (REFUSAL, True)
    assert not row(answer="Not stated.").refusal


def test_a_refusal_that_names_a_gold_passage_looks_answerable() -> None:
    finding = found(row(query="What is the price?", answer=REFUSAL, gold=(0,)))["answerable_refusal"]
    assert finding.value == "gold names passage 0"


def test_a_refusal_in_other_words_is_not_measured_for_grounding() -> None:
    assert found(row(answer="I cannot find any of that in the passages given.")).keys() == {"refusal_wording"}


def test_an_answer_without_content_words_is_kept_with_a_warning() -> None:
    finding = found(row(answer="It is."))["content_coverage"]
    assert (finding.level, finding.value) == ("warn", "no content word to look for")


@pytest.mark.parametrize(
    ("answer", "passage", "held"),
    [
        ("cast iron", "It is made of cast iron.", True),
        ("It is made of cast iron.", "It is made of cast iron", True),
        ("It is cast", "It is cast, then turned.", True),
        ("5 bar", "It takes 1.5 bar.", False),
        ("15", "It takes 155 bar.", False),
        ("1", "It takes 1.5 bar.", False),
        ("iron cast", "It is made of cast iron.", False),
    ],
)
def test_verbatim_means_whole_words_and_whole_numbers(answer: str, passage: str, held: bool) -> None:
    assert is_verbatim(answer, ("Another passage.", passage)) is held


def test_a_verbatim_answer_has_perfect_measures() -> None:
    view = ContextView([CONTEXT])
    for answer in ("runs at 1,450 rpm", "nineteen ninety-eight. Its casing", CONTEXT):
        assert is_verbatim(answer, (CONTEXT,))
        assert {getattr(view, measure)(answer) for measure in GROUNDING} == {1.0}
        assert not view.unsupported_numbers(answer) and not view.unsupported_entities(answer)


@pytest.mark.parametrize("token", [*CONTROL_TOKENS, "<|eot_id|>", "<|endoftext|>", "<｜User｜>", "<unused12>"])
def test_control_tokens_of_every_family_are_found(token: str) -> None:
    assert control_tokens(f"a {token} b{token}") == [token]


@pytest.mark.parametrize("text", ["a <s b", "x[INST", "<|a b|>", "a <| b", "[1] and [edit]", "<sup>2</sup>", "|<|"])
def test_what_only_looks_like_a_control_token_is_text(text: str) -> None:
    assert control_tokens(text) == []


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("<p>It costs <s>12 euros</s> 9 euros now.</p>", []),
        ("Now 9, before <s>12</s>.", []),
        ("<s>The seal is made of nitrile.</s>", ["<s>", "</s>"]),
        ("A text ends with </s> here.", ["</s>"]),
        ("<s>[INST] What? [/INST] That.</s>", ["<s>", "[INST]", "[/INST]", "</s>"]),
    ],
)
def test_what_html_strikes_out_is_no_control_token(text: str, tokens: list[str]) -> None:
    assert control_tokens(text) == tokens


def test_thoughts_in_an_answer_are_found_and_the_remedy_says_so() -> None:
    finding = found(row(answer="<reasoning>The sheet says so.</reasoning>" + ANSWER))["control_tokens"]
    assert finding.value == "<reasoning> </reasoning>" and "thought" in finding.remedy


@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        ("Le gâteau est très sucré, paraît-il.", ["windows-1252", "latin-1", "mac-roman"]),
        ("Die Öffnung schließt später.", ["windows-1252", "latin-1", "mac-roman"]),
        ("Ключ лежит на столе у окна.", ["latin-1", "windows-1251"]),
        ("The keeper’s gate – it’s open.", ["windows-1252", "mac-roman"]),
        ("Water at 20 °C, ± 2.", ["windows-1252"]),
    ],
)
def test_utf_8_that_was_read_as_something_else_is_found(text: str, encodings: list[str]) -> None:
    assert misdecoded(text) is None
    for encoding in encodings:
        assert misdecoded(text.encode().decode(encoding)), encoding


@pytest.mark.parametrize(
    "text",
    [
        "Ångström, ÄÖÜ, São Paulo, naïve: 20 °C ± 2 µm, §3, «oui», “yes”, 5 € – done…",
        "يفتح السوق في الساعة السابعة، والصفحة تعرض cafÃ© خطأً.",  # quotes one wrong word of elsewhere
        "तालाब की गहराई दो मीटर है।",
        "本店は午前九時に開きます。「営業中」",
        "Λειτουργεί καθημερινά· ναι.",
    ],
)
def test_right_text_of_any_script_raises_no_alarm(text: str) -> None:
    assert misdecoded(text) is None


@pytest.mark.parametrize("mark", ["CANNOTANSWER", "n/a", "N/A.", "null", "[]", "-", "No answer present.", "NOT_FOUND"])
def test_a_mark_of_no_answer_is_one_unless_a_passage_holds_it(mark: str) -> None:
    assert says_there_is_none(row()._replace(answer=mark))
    if mark.isalpha():
        assert not says_there_is_none(row(context=(f"The field shows {mark} there.",))._replace(answer=mark))


@pytest.mark.parametrize("answer", ["No.", "None of the seals.", "Zero", "5", "Nil valve", "👍"])
def test_a_short_answer_is_no_mark(answer: str) -> None:
    assert not says_there_is_none(row()._replace(answer=answer))


STATED: list[tuple[str, str, str]] = [  # language, context, an answer that it supports
    ("en", "The seal lasts two hundred days.", "The seal lasts 200 days [2]."),
    ("en", "The seal holds 4.5 million cycles, 10⁵ dry.", "The seal holds 4,500,000 cycles, 100,000 dry."),
    ("en", "Fitted: 2019-04-07.", "Fitted on 7 April 2019 (Source: sheet, p. 2)."),
    ("en", "The valve opens at 19:30.", "The valve opens at 7:30 pm."),
    ("en", "Chapter XII treats the Model T 3.", "Chapter 12 treats the Model T3."),
    ("en", "The gap is ¾ inch, measured in 2018.", "The gap is 0.75 inch, measured in '18."),
    ("en", "The pump is red.", "Yes."),
    ("de", "Das Lager fasst 14.800 Kisten.", "Das Lager fasst 14800 Kisten."),
    ("de", "Die Halle schließt um 17.45 Uhr.", "Die Halle schließt um 17:45 Uhr."),
    ("de", "Im Hof stehen sieben Wagen.", "Im Hof stehen 7 Wagen."),
    ("de", "Die Pumpe ist rot.", "Ja."),
    ("fr", "La cuve contient 1\u202f250 litres.", "La cuve contient 1250 litres."),
    ("ru", "Насос включён.", "Да."),
    ("zh", "仓库有七台泵，价值2600万元。", "仓库有7台泵，价值26000000元。"),
    ("ja", "塔は1926年に完成した。", "はい、塔は1926年に完成した。"),
    ("ar", "تزن المضخة ٧٫٢٥ كغ وتتسع لـ ١٨٬٤٠٠ لتر.", "تزن المضخة 7.25 كغ وتتسع لـ 18400 لتر."),
    ("ko", "밸브는 2019. 4. 7. 설치되었다.", "밸브는 2019년 4월 7일 설치되었다."),
    ("hu", "A szelepet 2019. április 7-én szerelték be.", "A beszerelés napja: 2019.04.07."),
    ("fa", "وزن پمپ ۷٫۲۵ کیلوگرم است.", "پمپ 7.25 کیلوگرم وزن دارد."),
    ("fi", "Säiliö vetää 18 400 litraa.", "Säiliöön mahtuu 18400 litraa."),
]  # fmt: skip
UNSTATED: list[tuple[str, str, str]] = [  # language, context, an answer with a value of its own
    ("en", "The store is at -22 °C.", "The store is at 22 °C."),
    ("en", "The valve V-310 closes.", "The valve V-311 closes."),
    ("en", "The tank holds 6 kg.", "The tank holds 6 tonnes."),
    ("de", "Der Kanal ist 2,4 km und der Deich 5,1 km lang.", "Der Kanal ist 2,1 km lang."),
    ("es", "El canal mide 2,4 km y el dique 5,1 km.", "El canal mide 2,1 km."),
    ("zh", "仓库在1926年冬天建成。", "仓库在1931年冬天建成。"),
    ("ja", "駅まで35分です。", "駅まで45分です。"),
    ("ru", "Длина канала 2,4 км, дамбы 5,1 км.", "Длина канала 2,1 км."),
    ("ar", "تزن المضخة ٧٫٢٥ كغ.", "تزن المضخة ٨٫٢٥ كغ."),
    ("fi", "Säiliö vetää 18 400 litraa.", "Säiliö vetää 19 400 litraa."),
    ("sw", "Tangi lina lita 18,400.", "Tangi lina lita 14,800."),
]  # fmt: skip


@pytest.mark.parametrize(("language", "context", "answer"), STATED)
def test_a_value_in_another_notation_costs_no_row(language: str, context: str, answer: str) -> None:
    findings = found(row(query="?", context=(context,), answer=answer, language=language))
    assert not [each for each in findings.values() if each.level == "reject"]
    assert "absent_number" not in findings


@pytest.mark.parametrize(("language", "context", "answer"), UNSTATED)
def test_a_value_that_the_context_does_not_state_is_rejected(language: str, context: str, answer: str) -> None:
    assert (
        found(row(query="?", context=(context,), answer=answer, language=language))["absent_number"].level == "reject"
    )


@pytest.mark.parametrize(
    ("language", "context", "answer"),
    [
        ("fi", "Mylly rakennettiin joen varteen graniitista.", "Rakennusaineena käytettiin graniittia."),
        ("hu", "A malmot gránitból építették a folyó partján.", "Gránit az építőanyaga."),
        ("bn", "কলটি নদীর ধারে পাথর দিয়ে নির্মিত হয়।", "এটি পাথরে তৈরি।"),
        ("sw", "Kinu kilijengwa kwa mawe kando ya mto.", "Ujenzi wake ni wa mawe."),
    ],
)
def test_a_language_without_a_profile_loses_no_row_for_missing_words(language: str, context: str, answer: str) -> None:
    findings = found(row(query="?", context=(context,), answer=answer, language=language))
    assert findings and {each.level for each in findings.values()} == {"warn"}


@pytest.mark.parametrize(
    ("language", "query", "context", "answer", "rejected"),
    [
        ("th", "ห้องสมุดปิดกี่โมง", "ห้องสมุดเปิดแปดโมงเช้าและปิดตอนหกโมงเย็น", "ห้องสมุดปิดเที่ยงคืน", True),
        ("th", "ห้องสมุดปิดกี่โมง", "ห้องสมุดเปิดแปดโมงเช้าและปิดตอนหกโมงเย็น", "ห้องสมุดปิดหกโมงเย็น", False),
        ("zh", "图书馆几点关门？", "图书馆早上八点开门，傍晚六点关门。", "图书馆在深夜零时关门。", True),
        ("zh", "图书馆几点关门？", "图书馆早上八点开门，傍晚六点关门。", "图书馆傍晚六点关门。", False),
    ],
)
def test_an_answer_that_repeats_the_question_is_held_by_what_it_adds(
    language: str, query: str, context: str, answer: str, rejected: bool
) -> None:
    findings = found(row(query=query, context=(context,), answer=answer, language=language))
    assert ("reject" in {each.level for each in findings.values()}) is rejected


def test_a_short_answer_in_another_script_than_its_context_is_warned_of_only() -> None:
    findings = found(row(answer="密封圈是橡胶。"))
    assert findings.keys() == {"answer_language"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 3)), max_size=40))
def test_a_repeat_is_told_by_the_first_row_of_its_key_and_of_its_id(rows: list[tuple[int, int, int]]) -> None:
    sketch = np.zeros(len(rows), SKETCH)
    for field, column in zip(("key", "answer", "id"), range(3), strict=True):
        sketch[field] = [row[column] for row in rows]
    first: dict[int, int] = {}
    first_id: dict[int, int] = {}
    expected = []
    for place, (key, answer, id_) in enumerate(rows):
        if first.setdefault(key, place) != place:
            same = rows[first[key]][1] == answer
            expected.append((place, first[key], "duplicate" if same else "conflict"))
        if id_ and first_id.setdefault(id_, place) != place:
            expected.append((place, first_id[id_], "repeated_id"))
    assert repeats(sketch) == sorted(expected)


def test_percentiles_are_those_of_the_sorted_values() -> None:
    assert percentiles([np.array([50] * 6 + [3] * 4, "u4"), np.array([10] * 90, "u4")]) == {
        "min": 3, "p5": 10, "p25": 10, "p50": 10, "p75": 10, "p95": 50, "p99": 50, "max": 50
    }  # fmt: skip
    assert percentiles([]) == {}


def test_a_report_shows_three_examples_of_a_rule_and_counts_all() -> None:
    tally = Tally()
    found = [{"number": n, "level": "reject", "value": 0.4, "query": "q", "remedy": "mend it"} for n in range(3)]
    facts = {"read": 3, "forms": {"triplet": 3}, "languages": {"en": 2, "hu": 1}, "unused": {"Source": 3, "score": 3}}
    rejects = {"k_precision": {"reject": 3, "warn": 0, "examples": found[:2]}}
    tally.shard(facts | {"found": rejects}, [("a.jsonl", 1), ("a.jsonl", 2)])
    rejects = {"k_precision": {"reject": 2, "warn": 0, "examples": found[:2]}}
    tally.shard(facts | {"found": rejects}, [("a.jsonl", 4), ("a.jsonl", 5)])
    tally.across(Finding("duplicate", "reject", "as a.jsonl:3", "remove it"), "q", ("a.jsonl", 6))
    summary = tally.summary(Rules())
    assert summary["rows"] == {"read": 6, "clean": 0, "rejected": 5, "duplicates": 1, "warned": 0}
    assert summary["rules"]["k_precision"]["rejected"] == 5
    assert [example["line"] for example in summary["rules"]["k_precision"]["examples"]] == [1, 2, 4]
    assert "| k_precision | 5 | 0 | Share of the answer's words that the context holds (reject below" in markdown(
        summary
    )
    assert "5  k_precision, such as a.jsonl:1: 0.4 (limit 0.65)\n          mend it" in rejections(summary)
    assert "English 4, hu 2 (not validated" in markdown(summary)
    assert "set `data.fields: {document: Source}`" in markdown(summary)
    assert "duplicate" not in rejections(summary)


def test_texts_are_the_same_whatever_their_case_and_blanks_and_numbers_stay_apart():
    assert normal("The  limit\nis 1 12 bar .") == normal("the limit is 1\t12 bar.") != normal("the limit is 11 2 bar.")
    assert normal("Maße") != normal("Masse")
