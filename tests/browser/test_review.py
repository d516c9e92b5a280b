"""`reground review` in Chromium: decided by keyboard, killed and reloaded, by two people, and put into the data."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.review.decisions import Decisions, apply_decisions, read_rows
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
COUNT = 40


@pytest.fixture
def data(tmp_path):
    """Forty rows of the sample's sheets; the answers end in a phrase that a person may want to be without."""
    lines = (ROOT / "data/plant/train.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["gold"]][:COUNT]
    for row in rows[::2]:
        row["answer"] = row["answer"].replace("sheet", "see sheet")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def reviewing(data):
    """Starts the command as a reviewer; returns the process and the page's address."""
    running = []

    def start(who: str) -> tuple[subprocess.Popen, str]:
        command = [sys.executable, "-m", "flows.cli", "review", str(data), "--by", who, "--order", "file"]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"}
        )
        running.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.wait()


def opened(chromium, url, width=1280):
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(url)
    page.wait_for_selector("#row:not([hidden])")
    return page


def press(page, key: str, done: int) -> None:
    """Press a key, and wait until so many rows are decided."""
    page.keyboard.press(key)
    page.wait_for_function(f"document.getElementById('count').textContent.startsWith('{done} of ')")


def test_thirty_decisions_by_keyboard_outlive_a_reload_and_a_kill(chromium, data, reviewing):
    process, url = reviewing("ann")
    page = opened(chromium, url)
    for number in range(15):
        press(page, "r" if number % 5 == 4 else "a", number + 1)
    page.reload()
    page.wait_for_function("document.getElementById('count').textContent.startsWith('15 of 40')")
    process.send_signal(signal.SIGKILL)
    process.wait()
    page.close()
    process, url = reviewing("ann")
    page = opened(chromium, url)
    for number in range(15, 30):
        press(page, "r" if number % 5 == 4 else "a", number + 1)
    decisions = Decisions(data, "ann")
    choices = [decisions.own[row.id].choice for row in read_rows(data)[:30]]
    assert choices == ["accept", "accept", "accept", "accept", "reject"] * 6 and len(decisions.own) == 30
    process.send_signal(signal.SIGINT)
    assert "30 decided" in process.stdout.read() and process.wait() == 0
    page.close()


def test_an_edit_is_offered_for_all_rows_that_share_it_and_undone_whole(chromium, data, reviewing):
    _, url = reviewing("ann")
    page = opened(chromium, url)
    page.keyboard.press("e")
    page.wait_for_selector("#edit:not([hidden])")
    answer = page.input_value("#new-answer")
    page.fill("#new-answer", answer.replace("see sheet", "sheet"))
    press(page, "Control+Enter", 1)
    page.wait_for_selector("#repair:not([hidden])")
    assert "19 other rows" in page.inner_text("#repair-count")
    press(page, "g", 20)
    press(page, "z", 1)
    press(page, "k", 1)
    press(page, "u", 0)
    page.keyboard.press("e")
    page.wait_for_selector("#edit:not([hidden])")
    page.fill("#new-answer", answer.replace("see sheet", "sheet"))
    press(page, "Control+Enter", 1)
    page.wait_for_selector("#repair:not([hidden])")
    press(page, "g", 20)
    found = apply_decisions(data, Decisions(data, "ann"))
    assert found.edited == 20 and not any("see sheet" in row.row["answer"] for row in read_rows(data))
    page.close()


def test_two_people_merge_and_rows_that_they_dispute_stay(chromium, data, reviewing):
    before = data.read_text().splitlines()
    for who, keys in (("ann", "aar"), ("bob", "arr")):
        _, url = reviewing(who)
        page = opened(chromium, url)
        for number, key in enumerate(keys):
            press(page, key, number + 1)
        page.close()
    decisions = Decisions(data, "cleo")
    assert decisions.agreement() == (3, 2)
    found = apply_decisions(data, decisions)
    ids = [json.loads(line)["id"] for line in before]
    assert found.disputed == [ids[1]] and found.rejected == 1 and found.accepted == 1
    assert [row.id for row in read_rows(data)] == [*ids[:2], *ids[3:]]


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_and_shows_no_row_without_the_token(chromium, data, reviewing, width):
    _, url = reviewing("ann")
    page = opened(chromium, url, width)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert page.locator("mark").count() > 0
    if folder := os.environ.get("REGROUND_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"review-{width}.png", full_page=True)
    refused = page.request.get(url.partition("?")[0] + "rows")
    assert refused.status == 403
    page.close()
