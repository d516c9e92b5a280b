"""The champions' history: what it says of a promotion log, on a page and in Markdown."""

import re

from tasks.reporting.history import gained, html, markdown, measured
from tests.tasks.promoted import GATES, LOG


def test_each_promotion_has_its_gain_on_the_base_once():
    gains = {gain["name"]: gain["points"] for gain in gained(LOG)}
    assert list(gains) == ["token_f1", "hallucination"]  # abstention_f1 was measured for none
    assert [point["value"] for point in gains["token_f1"]] == [GATES[1], GATES[3], GATES[4]]
    assert [point["taken_back"] for point in gains["token_f1"]] == [False, True, False]
    assert [point["number"] for point in gains["token_f1"]] == [1, 3, 6]
    assert all(point["gate"].startswith("gate/") for point in gains["token_f1"])


def test_promoted_again_after_it_was_taken_back_counts_as_in_service():
    again = LOG[2] | {"number": 7}
    points = gained([*LOG, again])[0]["points"]
    assert [point["taken_back"] for point in points] == [False, True, False, False]


def test_the_page_says_who_is_in_service_and_shows_every_entry():
    text = html(LOG)
    champion = LOG[-1]["adapter"][: len("export/") + 16]
    assert f"<code>{champion}</code> is in service since 2026-11-15" in text
    assert text.count("<tr><td") == len(LOG)
    assert text.count('class="gain"') == 4 and text.count('class="gain back"') == 4  # refused, and taken back
    assert text.count("Changed: train.lora.r: 8 → 16") == len(LOG)
    assert not re.search(r"https?:|@import|url\(|<script", text)


def test_each_judged_adapter_is_a_point_of_the_lines_for_right_and_for_refusing():
    right, refusing = measured(LOG)
    assert (right["name"], refusing["name"]) == ("correct", "abstention_f1")
    assert [point["number"] for point in right["points"]] == [1, 2, 3, 6]
    assert [point["taken_back"] for point in right["points"]] == [False, True, True, False]
    assert measured([LOG[0] | {"comparisons": []}]) == []


def test_an_empty_log_is_said_to_be_empty():
    assert "No adapter is in service" in html([])
    assert gained([]) == []
    assert markdown([]).startswith("# Champions")


def test_a_promotion_by_hand_has_no_gain():
    by_hand = LOG[0] | {"verdicts": [], "gate": None, "by_hand": True}
    assert gained([by_hand]) == []
    assert "promoted" in html([by_hand])


def test_what_people_write_cannot_become_markup_or_break_the_table():
    entry = LOG[3] | {"why": "<img src=x> a | b\nc", "by": {"user": "<b>eve</b>", "host": "h"}}
    assert "<img" not in html([entry]) and "<b>" not in html([entry])
    row = next(line for line in markdown([entry]).splitlines() if "taken back" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 7
