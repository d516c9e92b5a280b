"""The report step on real files: what it concludes, what it shows, and that it is safe to open."""

import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from tasks.errors import UserError
from tasks.gate import GateConfig, gate
from tasks.metrics import METRICS
from tasks.report import ReportConfig, report
from tasks.reporting.terminal import table
from tasks.score import ScoreConfig, score
from tests.tasks.evaluation import (
    REFUSAL,
    poor,
    right,
    triplets,
    write_adapter,
    write_answers,
    write_rows,
    write_training,
)

CONFIG = ReportConfig()


def inputs(folder, rows, base, tuned):
    """The report step's inputs, every one as its step writes it."""
    places = {"rows": write_rows(folder / "rows", rows)}
    for name, say in (("base", base), ("tuned", tuned)):
        answers = places[f"{name}_answers"] = write_answers(folder / f"{name}_answers", rows, say)
        scores = places[f"{name}_scores"] = folder / f"{name}_scores"
        scores.mkdir()
        score(ScoreConfig(resamples=100), rows=places["rows"], answers=answers, out=scores)
    places["gate"] = folder / "gate"
    places["gate"].mkdir()
    scored = {name: places[name] for name in ("base_scores", "tuned_scores")}
    gate(GateConfig(resamples=300), **scored, out=places["gate"])
    return places | {"training": write_training(folder / "training"), "adapter": write_adapter(folder / "export")}


def told(folder, places, config=CONFIG):
    out = folder / "report"
    out.mkdir()
    report(config, **places, out=out)
    return json.loads((out / "report.json").read_text())


def verdicts(found):
    return {entry["name"]: entry["verdict"] for entry in found["metrics"]}


@pytest.fixture(scope="module")
def improved(tmp_path_factory):
    """A poor base and a perfect tuned model on 120 documents."""
    folder = tmp_path_factory.mktemp("improved")
    return folder / "report", told(folder, inputs(folder, triplets(120), poor, right))


def test_a_real_gain_is_called_better(improved):
    _, found = improved
    called = verdicts(found)
    for name in ("hallucination", "token_f1", "abstention_f1", "over_refusal", "contrast_pairs"):
        assert called[name] == "better", name
    assert called["leaky_abstention"] == "inconclusive"  # the base refuses in 60 documents only
    assert called["contains_value"] == "not scored"
    assert called["length_ratio"] == "diagnostic"
    assert "worse" not in called.values()
    assert re.match(
        r"The tuned model is better on \d of 5 primary metrics and worse on none\. Better: ", found["headline"]
    )


def test_a_difference_is_tuned_less_base_with_an_interval_around_it(improved):
    _, found = improved
    for entry in found["metrics"]:
        if change := entry["difference"]:
            assert change["value"] == pytest.approx(entry["tuned"]["value"] - entry["base"]["value"], abs=2e-6)
            assert change["low"] <= change["value"] <= change["high"]


def test_metrics_stand_in_the_order_of_their_table_with_counts(improved):
    _, found = improved
    assert [entry["name"] for entry in found["metrics"]] == list(METRICS)
    recall = next(entry for entry in found["metrics"] if entry["name"] == "abstention_recall")
    assert (recall["rows"], recall["documents"]) == (120, 120)


def test_primary_p_values_are_corrected_and_binary_ones_tested_exactly(improved):
    _, found = improved
    for entry in found["metrics"]:
        if entry["primary"]:
            assert entry["difference"]["p_holm"] >= entry["difference"]["p"]
    over_refusal = next(entry for entry in found["metrics"] if entry["name"] == "over_refusal")["difference"]
    assert over_refusal["lost"] == 0 or over_refusal["gained"] == 0
    assert over_refusal["p"] >= over_refusal["mcnemar_p"]


def test_abstention_stands_beside_always_and_never_refusing(improved):
    _, found = improved
    figures = {system["system"]: system["abstention_f1"] for system in found["abstention"]}
    assert list(figures) == ["base", "tuned", "always refuse", "never refuse"]
    assert (figures["tuned"], figures["never refuse"]) == (1, 0)
    assert figures["always refuse"] == pytest.approx(2 / 3)


def test_the_same_answers_twice_are_no_significant_difference(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(110), poor, poor))
    assert not set(verdicts(found).values()) & {"better", "worse"}
    assert verdicts(found)["token_f1"] == "no significant difference"
    assert found["headline"].startswith("No significant gain")


def test_a_model_that_always_refuses_is_called_worse(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(110), right, lambda number, row: REFUSAL))
    called = verdicts(found)
    assert called["token_f1"] == called["over_refusal"] == called["contrast_pairs"] == "worse"
    assert "better" not in called.values()
    assert "worse on" in found["headline"]


def test_under_a_hundred_documents_nobody_wins(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(40), poor, right))
    assert set(verdicts(found).values()) <= {"inconclusive", "diagnostic", "not scored"}
    assert found["headline"].startswith("Inconclusive: 40 source documents")


def test_the_best_and_worst_rows_are_those_that_gained_and_lost_most(tmp_path):
    spoiled = {3, 10, 17}
    rows = triplets(60)

    def base(number, row):
        return "It was made in 1777 by Acme Works." if number in (20, 41) else row.answer

    def tuned(number, row):
        return "It was made in 1888 by Other Works." if number in spoiled else row.answer

    found = told(tmp_path, inputs(tmp_path, rows, base, tuned), ReportConfig(examples=5))
    assert {row["id"] for row in found["worst"][:3]} == {rows[number].id for number in spoiled}
    assert {row["id"] for row in found["best"][:2]} == {rows[20].id, rows[41].id}
    assert found["worst"][0]["gain"] < 0 < found["best"][0]["gain"]
    assert not {row["id"] for row in found["worst"]} & {row["id"] for row in found["best"]}


def test_refusals_do_not_crowd_out_the_other_examples(improved):
    _, found = improved
    assert 3 <= sum(example["unanswerable"] for example in found["best"]) <= 7


class Page(HTMLParser):
    """Reads a page strictly enough: tags that were opened and never closed, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.links, self.text = [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href")]
        self.seen.add(tag)
        if tag != "meta":
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
    assert page.open == [] and page.links == []
    assert not re.search(r"https?:|@import|url\(", text)
    shown = "".join(page.text)
    assert found["headline"].split(". ")[0] in shown
    for metric in METRICS.values():
        assert metric.label in shown
    assert "held out: 3.200 → 0.900" in shown


def test_text_from_documents_cannot_become_markup(tmp_path):
    rows = [row._replace(query=f"<script>alert({i})</script> | *x*") for i, row in enumerate(triplets(12))]
    found = told(tmp_path, inputs(tmp_path, rows, poor, lambda number, row: "<img src=x onerror=alert(1)> & more"))
    page = Page((tmp_path / "report/report.html").read_text())
    assert not page.seen & {"script", "img"}
    assert "<img src=x onerror=alert(1)> & more" in "".join(page.text)
    assert found["best"][0]["query"].startswith("<script>")


def test_supported_words_are_marked_in_the_context_and_unsupported_ones_in_the_answer(improved):
    folder, _ = improved
    text = (folder / "report.html").read_text()
    assert re.search(r"<mark>[^<]*Halden bridge[^<]*</mark>|<mark>[^<]*\w+ \w+[^<]*</mark>", text)
    assert '<span class="absent">1777</span>' in text
    assert not re.search(r'class="absent">[^<]*context|<mark>stated', text)  # a refusal claims nothing


def test_markdown_has_the_table_and_the_loss_curve(improved):
    folder, found = improved
    text = (folder / "report.md").read_text()
    assert found["headline"] in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} <= {8, 6}
    chart = re.search(r"```mermaid\nxychart-beta\n(.*?)```", text, re.DOTALL).group(1)
    assert chart.count("line [") == 2
    assert '"step" 1 --> 40' in chart


def test_the_card_of_the_adapter_gets_the_evaluation(improved):
    folder, found = improved
    card = (folder / "model-card.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n---\n\n# LoRA adapter\n\n## Evaluation\n")
    assert found["headline"] in card


def test_the_terminal_table_fits_in_a_hundred_columns(improved):
    _, found = improved
    console = Console(width=100, force_terminal=True, color_system="standard", record=True)
    with console.capture() as captured:
        console.print(table(found))
    assert "…" not in captured.get()
    assert "\x1b[1;32mbetter" in captured.get()
    plain = re.sub(r"\x1b\[[\d;]*m", "", captured.get())
    assert max(map(len, plain.splitlines())) <= 100
    for metric in METRICS.values():
        assert metric.label in plain


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    rows = triplets(20)
    places = inputs(tmp_path, rows, poor, right)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        told(tmp_path / name, places)
    files = sorted(path.name for path in (tmp_path / "a/report").iterdir())
    assert files == ["model-card.md", "report.html", "report.json", "report.md"]
    for file in files:
        assert (tmp_path / "a/report" / file).read_bytes() == (tmp_path / "b/report" / file).read_bytes()
    assert str(tmp_path) not in (tmp_path / "a/report/report.json").read_text()


def test_a_training_without_curve_or_summary_is_shown_as_it_is(tmp_path):
    places = inputs(tmp_path, triplets(12), poor, right)
    for file in places["training"].iterdir():
        file.unlink()
    found = told(tmp_path, places)
    assert found["training"] == {"loss": [], "held_out": [], "summary": {}}
    assert "mermaid" not in (tmp_path / "report/report.md").read_text()
    assert "Loss per answer token" not in (tmp_path / "report/report.html").read_text()


def test_no_examples_can_be_asked_for(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(12), poor, right), ReportConfig(examples=0))
    assert found["best"] == found["worst"] == []
    assert "side by side" not in (tmp_path / "report/report.html").read_text()


def test_a_folder_without_card_is_refused(tmp_path):
    places = inputs(tmp_path, triplets(12), poor, right)
    (places["adapter"] / "adapter" / "README.md").unlink()
    with pytest.raises(UserError, match="no model card"):
        told(tmp_path, places)
