"""The report in the terminal: right and refused first, what that means, then the metrics and the rules."""

from io import StringIO

import pytest
from rich.console import Console

from flows.cli.tables import comparison
from tests.tasks.evaluation.rows import poor, right, triplets
from tests.tasks.reporting.reported import inputs, told


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What `reground retrain` prints in 100 columns, and report.json."""
    folder = tmp_path_factory.mktemp("shown")
    found = told(folder, inputs(folder, triplets(120), poor, right, base_shots=poor))
    console = Console(width=100, record=True, file=StringIO())
    comparison(console, found, folder / "report")
    return console.export_text(), found


def test_it_begins_with_what_is_right_and_what_is_refused_and_says_what_that_means(shown):
    text, found = shown
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0][:4] == ["What", "became", "of", "all"]
    assert [line[0] for line in lines[3:7]] == ["right", "refused", "wrong", "refused"]
    for line, outcome in zip(lines[3:7], ("right", "refused_rightly", "wrong", "refused_wrongly"), strict=True):
        counts = [word for word in line if word.isdigit()]
        assert [int(each) for each in counts[::2]] == [system[outcome] for system in found["outcomes"]]
    assert text.index("• Right answers") < text.index("• Abstention F1") < text.index("Support by the context")
    assert found["sentence"] in " ".join(text.split())
    assert "It deals rightly with 100 % of the questions, the base model with 25 %" in found["sentence"]


def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(shown):
    text, _ = shown
    assert all(len(line) <= 100 for line in text.splitlines() if not line.startswith("report:"))
    assert "…" not in text
