"""The report's page: what it shows, that it is whole, and that it is safe to open."""

import re
from collections import Counter
from html.parser import HTMLParser
from inspect import signature

import orjson
import pytest

from tasks.evaluation.metrics import METRICS, Metric
from tasks.judges.agreement import of_lexical
from tasks.judges.cases import Judgement, JudgeResult, figures, read_cases
from tasks.report import ReportConfig, report
from tasks.reporting.page import at, sources
from tests.tasks.evaluation.rows import REFUSAL, poor, right, triplets
from tests.tasks.reporting.reported import inputs, record, told, with_slices, with_source


def invents(number, row):
    """Right but for every fourth row, where it invents."""
    return "It was made in 1777 by Acme Works." if number % 4 == 0 else row.answer


@pytest.fixture(scope="module")
def improved(tmp_path_factory):
    """A poor base and a tuned model that sometimes invents, on 120 documents."""
    folder = tmp_path_factory.mktemp("improved")
    return folder / "report", told(folder, inputs(folder, triplets(120), poor, invents))


class Page(HTMLParser):
    """Reads a page strictly enough: tags that were opened and never closed, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.links, self.text, self.paths = [], set(), [], [], []
        self.count = Counter()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href")]
        self.paths += [value for name, value in attrs if name == "data-path"]
        self.seen.add(tag)
        self.count[tag] += 1
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_well_formed_and_fetches_nothing(improved):
    folder, found = improved
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == [] and all(link.startswith("#") for link in page.links)
    assert not re.search(r"https?:|@import|url\(", text)
    shown = "".join(page.text)
    assert found["headline"] in shown
    for metric in METRICS.values():
        assert metric.label in shown
    assert "held out: 3.200 → 0.900" in shown


def test_text_from_documents_cannot_become_markup(tmp_path):
    rows = [row._replace(query=f"<script>alert({i})</script> | *x*") for i, row in enumerate(triplets(12))]
    found = told(tmp_path, inputs(tmp_path, rows, poor, lambda number, row: "<img src=x onerror=alert(1)> & more"))
    page = Page((tmp_path / "report/report.html").read_text())
    assert "img" not in page.seen and page.count["script"] == 1  # the table's filter
    assert "<img src=x onerror=alert(1)> & more" in "".join(page.text)
    assert found["answers"][0]["query"].startswith("<script>")


def test_supported_words_are_marked_in_the_context_and_unsupported_ones_in_the_answer(improved):
    folder, _ = improved
    text = (folder / "report.html").read_text()
    assert re.search(r"<mark>[^<]*Halden bridge[^<]*</mark>|<mark>[^<]*\w+ \w+[^<]*</mark>", text)
    assert '<span class="absent">1777</span>' in text
    assert not re.search(r'class="absent">[^<]*context|<mark>stated', text)  # a refusal claims nothing


def test_what_the_page_shows_stands_in_the_json(improved):
    folder, found = improved
    page = Page((folder / "report.html").read_text())
    assert len(page.paths) > 300
    for path in page.paths:
        at(found, path)
    with pytest.raises(LookupError):
        at(found, "comparisons.base.no_such_metric.tuned.value")


def test_every_value_is_read_from_inputs_of_the_step(improved):
    """`sources` raises an error for a path that no pattern describes."""
    _, found = improved
    inputs = {name.replace("_", " ") for name in signature(report.function).parameters}
    for path in paths(found):
        if not path.startswith(("made_from.", "settings.", "refusal")):
            assert set(sources(path)) <= inputs, path
    with pytest.raises(LookupError, match="made_up"):
        sources("made_up")


def paths(value, prefix=""):
    """The path of each number and text in report.json."""
    if value is None:
        return []
    if not isinstance(value, dict | list):
        return [prefix]
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return [path for name, part in parts for path in paths(part, f"{prefix}.{name}" if prefix else str(name))]


def test_champion_and_what_ships_have_their_tables(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(110), poor, right, champion=poor, shipped=right))
    assert [each["name"] for each in found["outcomes"]] == ["base", "champion", "tuned"]
    assert found["mistakes"]["against"] == "champion" and found["answers"][0]["champion"]["answer"]
    page = Page((tmp_path / "report/report.html").read_text())
    for path in ("champion.token_f1.champion.value", "champion.token_f1.tuned.value", "trained.token_f1.shipped.value"):
        assert f"comparisons.{path}" in page.paths
    assert found["comparisons"]["champion"][0]["difference"] == found["comparisons"]["base"][0]["difference"]


def test_the_base_with_examples_in_its_prompt_is_on_the_first_screen(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(110), poor, invents, base_shots=right))
    assert [each["name"] for each in found["outcomes"]] == ["base", "base_shots", "tuned"]
    assert found["mistakes"]["against"] == "base"
    assert found["sentence"].endswith("more right answers than a better prompt would is not shown.")
    page = Page((tmp_path / "report/report.html").read_text())
    assert {"outcomes.base_shots.right", "comparisons.base_shots.correct.base_shots.value"} <= set(page.paths)


def test_slices_are_reported_with_their_change(tmp_path):
    rows = triplets(40)
    places = with_slices(tmp_path, inputs(tmp_path, rows, poor, right), poor, poor, most=36)
    found = told(tmp_path, places)
    assert [entry["rows"] for entry in found["slices"] if entry["name"].startswith("gold_")]
    change = next(e for e in found["slices"] if e["name"] == "gold_first")["figures"][1]["tuned"]["change"]
    assert change["value"] < 0  # untouched all was right
    assert {"slices", "base slices", "tuned slices"} <= set(found["made_from"])
    shown = Page((tmp_path / "report/report.html").read_text()).paths
    assert {e["name"] for e in found["slices"] if e["telling"]} == {
        path.split(".")[1] for path in shown if path.startswith("slices.")
    }
    shown = (tmp_path / "report/report.md").read_text()
    assert "## Harder questions" in shown
    harder = next(e for e in found["slices"] if e["name"] == "distractors_80")
    assert harder["added"]["median"] >= harder["added"]["least"] >= 1
    assert f"passages added: {harder['added']['median']:g}, at least {harder['added']['least']:g}; of all: 0." in shown
    assert "slices.distractors_80.added.least" in Page((tmp_path / "report/report.html").read_text()).paths


def test_rows_in_doubt_and_what_failures_were_learnt_from_go_back_to_the_author(tmp_path):
    rows = triplets(20)
    rows[6] = rows[6]._replace(answer="It was opened in 1234 by the Duke of Nowhere.")

    def tuned(number, row):
        return REFUSAL if number == 4 else row.answer

    places = with_source(tmp_path, inputs(tmp_path, rows, poor, tuned), triplets(8))
    found = told(tmp_path, places)
    assert [row["id"] for row in found["doubtful"]["listed"]] == [rows[6].id]
    assert (found["doubtful"]["failing"], found["doubtful"]["rows"]) == (1, 40)
    failure = next(each for each in found["learnt_from"] if each["id"] == rows[4].id)
    assert failure["answer"] == REFUSAL and failure["nearest"][0]["id"] == rows[4].id
    page = Page((tmp_path / "report/report.html").read_text())
    for path in page.paths:
        at(found, path)
    assert {"doubtful.listed.0.query", "learnt_from.0.nearest.0.similarity"} <= set(page.paths)


def test_the_first_screen_says_what_the_check_of_support_sees_and_the_details_each_kind_of_failure(improved):
    folder, found = improved
    (words,) = found["layers"]
    seen = {each["name"]: each["seen"] for each in words["strata"]}
    assert words["name"] == "lexical" and seen["unrelated"] and len(seen) == 6
    assert all(each["seen"] == (each["auroc"] >= 0.75) for each in words["strata"])
    text = (folder / "report.html").read_text()
    before, _, after = text.partition('id="mistakes"')
    assert "Value swapped" in before and before.count("not seen") >= 2 - seen["swapped"] - seen["negated"]
    paths = Page(text).paths
    assert {f"layers.lexical.strata.{name}.auroc" for name in seen} <= set(paths) and after


def test_judges_are_shown_and_decide_nothing(tmp_path):
    places = inputs(tmp_path, triplets(12), poor, right)
    cases = read_cases(places["rows"], places["base_answers"], places["tuned_answers"])
    missing, scored = Judgement(None, "budget"), Judgement(0.5)
    judges = []
    for name, said in {"faithfulness": [missing, scored], "relevance": [missing, missing]}.items():
        about = {"label": f"{name} by a model", "model": "some/judge", "prompt": "0123456789abcdef"}
        judged = JudgeResult(name, about, [(said[at % 2], None) for at in range(len(cases))])
        judges.append({"judge": name, **about, **figures(cases, judged)})
    (tmp_path / "judge").mkdir()
    words = of_lexical()
    agreement = [words.model_dump(), words.model_copy(update={"judge": "faithfulness"}).model_dump()]
    content = {"rows": 24, "judges": judges, "agreement": agreement, "cost": {}}
    (tmp_path / "judge" / "judge.json").write_bytes(orjson.dumps(content))
    found = told(tmp_path, places | {"judge": record(tmp_path / "judge", "judge")})
    page = Page((tmp_path / "report/report.html").read_text())
    assert {"judge.judges.1.model", "judge.judges.0.difference.value", "judge.judges.1.base.missing"} <= set(page.paths)
    assert "judge.judges.1.difference.value" not in page.paths
    assert [each["label"] for each in found["layers"]] == ["Words (lexical)", "faithfulness by a model"]
    assert {"layers.faithfulness.auroc", "layers.faithfulness.strata.stitched.caught"} <= set(page.paths)
    assert "## Judges" in (tmp_path / "report/report.md").read_text()
    assert found["made_from"]["judge"].startswith("judge/")


def test_a_new_metric_needs_no_change_here(tmp_path, monkeypatch):
    def shouting(row):
        """Share of capital letters, to see that a metric comes with its definition."""
        return sum(map(str.isupper, row.answer)) / max(len(row.answer), 1)

    metric = Metric(shouting, "Capital letters", "Style / domain", "lower", "mean")
    monkeypatch.setitem(METRICS, "shouting", metric)
    found = told(tmp_path, inputs(tmp_path, triplets(12), poor, right))
    assert "shouting" in [each["name"] for each in found["comparisons"]["base"]]
    page = Page((tmp_path / "report/report.html").read_text())
    assert "comparisons.base.shouting.tuned.value" in page.paths
    assert "Share of capital letters, to see that a metric comes with its definition." in "".join(page.text)
    assert "Capital letters" in (tmp_path / "report/model-card.md").read_text()


def test_no_answers_can_be_asked_for(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(12), poor, right), ReportConfig(examples=0, answers=0))
    assert found["answers"] == []
    assert 'id="answers"' not in (tmp_path / "report/report.html").read_text()
