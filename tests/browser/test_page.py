"""The report and the champions' history in a browser: nothing overflows, all is readable, each number is traced."""

import re

import pytest

from tasks.reporting.history import html as history
from tasks.reporting.page import at
from tests.tasks.evaluation.rows import poor, right, triplets
from tests.tasks.promoted import LOG
from tests.tasks.reporting.reported import inputs, told, with_slices, with_source

pytestmark = pytest.mark.slow
SCREENS = [(width, scheme) for width in (1280, 400) for scheme in ("light", "dark")]
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2


def tuned(number, row):
    """Right but for a few answers, one of them a word longer than a narrow screen."""
    return {3: f"It is {LONG}.", 8: "It was made in 1888 by Other Works.", 40: ""}.get(number, right(number, row))


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A report with everything in it: a champion, what ships, slices, examples; and its report.json."""
    folder = tmp_path_factory.mktemp("reported")
    rows = triplets(120)
    rows[8] = rows[8]._replace(query=f"{rows[8].query} {LONG}?")
    places = with_source(folder, inputs(folder, rows, poor, tuned, champion=right, shipped=right), triplets(60))
    return folder / "report/report.html", told(folder, with_slices(folder, places, poor, right))


@pytest.fixture(scope="module", params=["report", "champions", "no champions"])
def shown(request, reported, tmp_path_factory):
    """Each page that the project writes."""
    if request.param == "report":
        return reported[0]
    path = tmp_path_factory.mktemp("history") / "history.html"
    path.write_text(history(LOG if request.param == "champions" else []), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_nothing_overflows_and_all_is_readable(shown, open_page, width, scheme):
    opened = open_page(shown, width, scheme)
    opened.page.add_style_tag(content=".scroll { max-height: none !important }")  # what is scrolled away covers nothing
    for state in ("folded", "unfolded"):
        for fault in ("overflowing", "covered", "broken", "small", "faint"):
            assert opened.measure(fault) == [], (state, fault)
        opened.page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")


def test_the_two_schemes_differ(shown, open_page):
    colours = {
        open_page(shown, 400, scheme).page.evaluate("getComputedStyle(document.body).color")
        for scheme in ("light", "dark")
    }
    assert len(colours) == 2


def test_nothing_is_fetched_and_nothing_fails(shown, open_page):
    opened = open_page(shown)
    opened.page.wait_for_load_state("networkidle")
    assert opened.fetched == opened.errors == []


def test_without_scripts_the_whole_table_is_there_and_no_filter(reported, open_page):
    path, found = reported
    page = open_page(path, java_script_enabled=False).page
    assert page.locator("form").count() == 1 and not page.locator("form").is_visible()
    assert page.locator(".all tbody tr").count() == len(found["answers"])


def test_the_table_is_filtered_by_words_kind_and_outcome(reported, open_page):
    path, found = reported
    page = open_page(path).page
    page.locator("[name=outcome]").select_option("wrong")
    wrong = [row for row in found["answers"] if row["tuned"]["outcome"] == "wrong"]
    assert page.locator(".all tbody tr:visible").count() == len(wrong) > 0
    page.locator("[name=kind]").select_option("unanswerable")
    assert page.locator(".all tbody tr:visible").count() == sum(row["unanswerable"] for row in wrong)
    page.locator("[name=outcome]").select_option("")
    page.locator("[name=kind]").select_option("")
    page.locator("[name=words]").fill("sheet 11")
    hits = sum("sheet 11" in row["query"].lower() for row in found["answers"])
    assert page.locator(".all tbody tr:visible").count() >= hits > 0


def test_an_example_opens_by_keyboard(reported, open_page):
    page = open_page(reported[0]).page
    closed = page.locator("details:not([open])").first
    answer = closed.locator(".answers")
    assert not answer.is_visible()
    summary = page.locator("details:not([open]) > summary").first.element_handle()
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("(summary) => document.activeElement === summary", summary):
            break
    outline = page.evaluate("(summary) => getComputedStyle(summary).outlineStyle", summary)
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert summary.evaluate("(summary) => summary.parentElement.open && summary.nextElementSibling.checkVisibility()")


def test_every_number_equals_the_one_in_the_json_and_names_its_artifact(reported, open_page):
    path, found = reported
    traced = open_page(path).measure("traced")
    keys = set(found["made_from"].values())
    figures = [(where, artifacts, text) for where, artifacts, text in traced if artifacts]
    assert len(figures) > 250
    for where, artifacts, text in figures:
        assert set(artifacts) <= keys, where
        assert same(at(found, where), text), (where, text)
    for where, artifacts, text in traced:
        if not artifacts:
            value = at(found, where)
            assert text == value if isinstance(value, str) else same(value, text), where


def same(value, text):
    """Whether a number as shown is the number, to the digits that it shows; a dash is none."""
    if value is None:
        return text == "–"
    digits = re.fullmatch(r"([+−]?)([\d,]+)(?:\.(\d+))?", text)
    number = float(text.replace(",", "").replace("−", "-"))
    return digits and abs(number - value) <= 0.5 * 10 ** -len(digits[3] or "") + 1e-9


def test_no_number_is_without_its_place(reported, open_page):
    assert open_page(reported[0]).measure("untraced") == []


def test_the_artifacts_that_a_section_names_are_in_the_list_at_the_end(reported, open_page):
    path, found = reported
    page = open_page(path).page
    links = page.eval_on_selector_all("a", "(all) => all.map((each) => each.getAttribute('href'))")
    assert len(set(links)) >= 10
    for link in set(links):
        assert page.locator(link).count() == 1, link
    listed = page.locator(".made-from code").all_inner_texts()
    assert sorted(listed) == sorted(found["made_from"].values())


def test_it_prints_on_six_pages_and_starts_its_details_within_three_screens(reported, open_page):
    page = open_page(reported[0]).page
    assert page.locator("#answers").bounding_box()["y"] <= 3 * 900
    printed = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) <= 6
