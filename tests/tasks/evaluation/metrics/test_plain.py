"""The metrics as plain functions, and `reground score` on files."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.scoring import score_file
from tasks.engine.errors import UserError
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.metrics.plain import faithfulness, is_abstention, sentence_faithfulness, sentences_faithfulness
from tests.tasks.evaluation.metrics.grounded import GROUNDED

QUERY, CONTEXT, ANSWER = GROUNDED[0]
REFUSAL = "The passage does not say who designed the bridge."


def test_one_text_and_a_list_with_it_are_the_same_context():
    assert faithfulness(QUERY, CONTEXT, ANSWER) == faithfulness(QUERY, [CONTEXT], ANSWER)
    assert sentence_faithfulness(QUERY, CONTEXT, ANSWER) == sentence_faithfulness(QUERY, [CONTEXT], ANSWER)


def test_an_answer_is_as_faithful_as_its_two_least_supported_sentences():
    longer = f"{ANSWER} It was later moved to Toronto."
    supports = [support for _, support in sentences_faithfulness(QUERY, CONTEXT, longer)]
    assert len(supports) == 3
    assert supports[2] == min(supports) < 0.3
    assert faithfulness(QUERY, CONTEXT, longer) == pytest.approx(sum(sorted(supports)[:2]) / 2)


@pytest.mark.parametrize("answer", [REFUSAL, "Yes.", "It is.", "No", "n/a", "1937"])
def test_whatever_has_a_word_gets_a_number(answer):
    assert isinstance(faithfulness(QUERY, CONTEXT, answer), float)
    assert isinstance(sentence_faithfulness(QUERY, CONTEXT, answer), float)
    assert all(isinstance(support, float) for _, support in sentences_faithfulness(QUERY, CONTEXT, answer))


@pytest.mark.parametrize("answer", ["", " ", "…"])
def test_what_has_no_word_gets_none(answer):
    assert faithfulness(QUERY, CONTEXT, answer) is None
    assert sentence_faithfulness(QUERY, CONTEXT, answer) is None
    assert sentences_faithfulness(QUERY, CONTEXT, answer) == []
    assert not is_abstention(QUERY, CONTEXT, answer)


def test_a_caveat_costs_nothing_and_a_refusal_scores_low():
    assert faithfulness(QUERY, CONTEXT, f"{ANSWER} {REFUSAL}") == faithfulness(QUERY, CONTEXT, ANSWER)
    in_brackets = f"{ANSWER[:-1]} ({REFUSAL[0].lower()}{REFUSAL[1:-1]})."
    assert faithfulness(QUERY, CONTEXT, in_brackets) == faithfulness(QUERY, CONTEXT, ANSWER)
    assert faithfulness(QUERY, CONTEXT, REFUSAL) < 0.5 < faithfulness(QUERY, CONTEXT, ANSWER)


@pytest.mark.parametrize("marks", [(" [1]", "[2, 3]"), ("【1†source】", "【4:2†report.pdf】"), ("[^1]", " [3†L5-L9]")])
def test_citations_cost_nothing(marks):
    cited = f"The Halden bridge opened to traffic on 14 May 1937{marks[0]}. It cost 3,450,000 crowns.{marks[1]}"
    assert faithfulness(QUERY, CONTEXT, cited) == faithfulness(QUERY, CONTEXT, ANSWER)


def test_what_the_context_says_itself_is_no_abstention():
    said = "No information about the cause is available."
    assert is_abstention("Why?", "The dam broke in 1911.", said)
    assert not is_abstention("Why?", "The dam broke in 1911. No information on its cause is available.", said)
    assert is_abstention(QUERY, CONTEXT, f"{REFUSAL} However, it was probably an engineer from Oslo.")
    assert not is_abstention(QUERY, CONTEXT, ANSWER)


ROWS = [
    {"query": QUERY, "context": [CONTEXT], "answer": ANSWER, "reference": ANSWER, "id": "good"},
    {"query": QUERY, "context": CONTEXT, "answer": "It opened in 1999 in Toronto.", "reference": ANSWER},
    {"query": "Who designed the mill?", "context": CONTEXT, "answer": REFUSAL, "should_abstain": True, "more": 1},
    {"query": "Who designed the mill?", "context": CONTEXT, "answer": REFUSAL},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_the_command_writes_a_line_for_each_row_and_a_table_of_means(file):
    result = CliRunner().invoke(app, ["score", str(file)])
    assert result.exit_code == 0
    good, bad, refused, unknown = map(json.loads, result.stdout.splitlines())
    assert [each["id"] for each in (good, bad, refused, unknown)] == [
        "good",
        *(f"answers.jsonl:{n}" for n in (2, 3, 4)),
    ]
    assert set(good["metrics"]) == {name for name, metric in METRICS.items() if metric.level == "row"}
    assert [each["support"] for each in good["sentences"]] == [
        support for _, support in sentences_faithfulness(QUERY, CONTEXT, ANSWER)
    ]
    assert (good["metrics"]["exact_match"], good["metrics"]["hallucination"], good["metrics"]["over_refusal"]) == (
        1,
        0,
        0,
    )
    assert (bad["absent_numbers"], bad["absent_names"]) == (["1999"], ["Toronto"])
    assert refused["abstained"] is True
    assert refused["metrics"]["abstention_recall"] == 1
    assert refused["metrics"]["faithfulness"] is None
    assert refused["support"] == faithfulness("", CONTEXT, REFUSAL)
    assert "Support by the context" in result.stderr


def test_what_a_row_does_not_tell_is_not_counted(file):
    means = {mean.name: mean for mean in score_file(str(file), file.with_name("out.jsonl"))}
    assert means["over_refusal"][1:] == (0.0, 2)  # of rows with a reference
    assert means["abstention_f1"][1:] == (1.0, 1)
    assert means["truncated"][1:] == (None, 0)
    assert means["abstained"][1:] == (0.5, 4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "answers.jsonl:5: the line: Invalid JSON"),
        ("[1]", "answers.jsonl:5: the line: Input should be an object"),
        ('{"query": "a", "context": "b"}', "answers.jsonl:5: no form has the fields context, query"),
        ('{"user_input": "a", "retrieved_contexts": ["b"], "response": "c"}', "set data.format: ragas"),
        (
            '{"query": "a", "context": ["b", 3], "answer": "c"}',
            "answers.jsonl:5: context: Input should be a valid string",
        ),
        (
            '{"query": "a", "context": "b", "answer": "c", "should_abstain": 1}',
            "should_abstain: Input should be a valid bool",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_nothing_is_left(file, line, message):
    with file.open("a") as more:
        more.write(line + "\n")
    out = file.with_name("out.jsonl")
    out.write_text("as it was")
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        score_file(str(file), out)
    assert out.read_text() == "as it was"
    assert {path.name for path in file.parent.iterdir()} == {"answers.jsonl", "out.jsonl"}


def test_a_reference_that_the_context_says_itself_is_an_answer_however_much_it_sounds_like_a_refusal(tmp_path):
    said = "The price of the mill was not specified."
    row = {"query": "What did it cost?", "context": "It was sold in 1990. " + said, "answer": said, "reference": said}
    given = tmp_path / "answers.jsonl"
    given.write_text(json.dumps(row) + "\n")
    means = {mean.name: mean for mean in score_file(str(given), tmp_path / "out.jsonl")}
    assert means["token_f1"][1:] == (1.0, 1)
    assert means["abstention_recall"][1:] == (None, 0)
