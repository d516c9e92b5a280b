"""The report's section on judges."""

from tasks.evaluation.statistics import MIN_CLUSTERS
from tasks.judges.cases import Case, Judgement, JudgeResult, figures
from tasks.reporting.rendering import render


def judges_section(judged):
    return render("report/judge.md.jinja", report={"judge": judged}, min_documents=MIN_CLUSTERS)


def cases(documents):
    return [
        Case(str(n), f"d{n}", system, f"q{n}", ("…",), "a", None, False, ())
        for system in ("base", "tuned")
        for n in range(documents)
    ]


def judged(label, base, tuned, **about):
    said = [(each, None) for each in (*base, *tuned)]
    judge = JudgeResult(label, {"label": label, "model": "org/judge-1", "prompt": None} | about, said)
    return {"judge": label, **judge.about, **figures(cases(len(base)), judge)}


def scores(*values):
    return [value if isinstance(value, Judgement) else Judgement(value) for value in values]


def test_the_section_tells_figures_missing_rates_models_and_cost():
    budget, refusal = Judgement(None, "budget"), Judgement(None, "refusal")
    rows = [
        judged(
            "Faithfulness (LLM)",
            scores(0.0, 0.5, 0.5, budget, refusal),
            scores(1.0, 1.0, 0.5, 1.0, refusal),
            prompt="0123456789abcdef",
        ),
        judged("Faithfulness (entailment)", scores(*[refusal] * 5), scores(*[-0.5] * 5)),
    ]
    cost = {"requests": 1234, "prompt_tokens": 99_000, "completion_tokens": 500, "replies_taken_over": 7}
    text = judges_section({"rows": 5, "judges": rows, "cost": cost, "settings": {}})
    assert text.startswith("## Judges\n\n")
    assert "Under 100 documents the intervals are too narrow to name a winner." in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[2].startswith(
        "| Faithfulness (LLM) | 0.33 [0.03, 0.87] | 0.88 [0.29, 0.99] | +0.50 [−0.68, +0.96] | 3 "
    )
    assert table[2].endswith("| 25 % / 0 % |")
    assert table[3] == "| Faithfulness (entailment) | – | -0.50 [−0.50, 0.42] | – | 0 | – / 0 % |".replace("-0", "−0")
    assert {line.count("|") for line in table} == {7}
    assert "`org/judge-1`, prompts `0123456789ab`. Without a score: base 1 budget, 1 refusal; tuned 1 refusal." in text
    assert "1,234 requests, 99,000 tokens in and 500 out; 7 replies were known." in text


def test_enough_documents_need_no_warning():
    told = judged("x", scores(*[0.5] * 100), scores(*[0.6] * 100))
    text = judges_section({"rows": 100, "judges": [told], "cost": {}, "settings": {}})
    assert "too narrow" not in text
    assert "| x | 0.50 [0.50, 0.50] | 0.60 [0.59, 0.61] | +0.10 [+0.09, +0.11] | 100 | 0 % / 0 % |" in text


def test_the_difference_is_of_the_questions_that_count_for_both():
    budget = Judgement(None, "budget")
    told = judged("x", scores(0.0, 1.0, budget, 0.5), scores(1.0, budget, 1.0, 0.5))
    assert (told["base"]["value"], told["tuned"]["value"]) == (0.5, 0.833333)
    assert (told["difference"]["value"], told["difference"]["rows"], told["difference"]["documents"]) == (0.5, 2, 2)
    assert told["base"]["missing_rate"] == told["tuned"]["missing_rate"] == 0.25


def test_nothing_judged_has_no_figure():
    told = judged("x", scores(*[Judgement(None, "unreadable")] * 3), scores(*[Judgement(None, "refusal")] * 3))
    assert told["base"]["value"] is told["tuned"]["value"] is told["difference"] is None
    assert (told["base"]["missing_rate"], told["tuned"]["missing_rate"]) == (1, None)
