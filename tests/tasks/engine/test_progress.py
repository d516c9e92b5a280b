"""What a person sees of long work: on a terminal, in a log, and on Prefect's pages."""

import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tasks.engine import progress
from tasks.engine.progress import Progress, TrainingProgress, say, seconds_left, training_status, watched_by
from tasks.reporting.plots import loss_image


def lines(steps: int) -> list[dict]:
    return [{"step": step, "max_steps": steps, "loss": 1 / step} for step in range(1, steps + 1)]


def test_the_bar_shows_steps_and_loss(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with TrainingProgress() as progress:
        for line in lines(4):
            progress.update(line)
    assert (progress.bar.n, progress.bar.total) == (4, 4)
    assert "loss=0.25" in progress.bar.postfix


@pytest.fixture
def always(monkeypatch):
    """Nothing is held back for the sake of readers or servers."""
    for name in ("LINE_EVERY", "PAGE_EVERY", "PAGE_RETRY"):
        monkeypatch.setattr(progress, name, 0.0)


class Log:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, text: str) -> bool:
        self.lines.append(text)
        return False

    def training(self, percent: float, status: str, lines: list[dict]) -> bool:
        return True


def test_without_a_terminal_a_line_tells_how_far_the_rows_are(capsys, always):
    with watched_by(log := Log()):
        assert list(Progress("validate", total=3).over("abc")) == ["a", "b", "c"]
    told = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert told == log.lines and len(told) == 3
    assert [line.partition(" rows · ")[0] for line in told] == [f"validate: {done} of 3" for done in (1, 2, 3)]
    assert "rows/s · about 0 s left" in told[0] and told[2].endswith("rows/s")


def test_without_a_terminal_a_line_tells_step_loss_and_speed_of_a_training(capsys, always):
    with watched_by(log := Log()), TrainingProgress() as training:
        for line in lines(3):
            training.update({**line, "tokens_per_second": 1234})
    told = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert told == log.lines and told[1].startswith("train: step 2 of 3 · loss 0.50 · 1,234 tokens/s · about ")


def test_lines_are_few_and_a_terminal_has_the_bar_alone(capsys, monkeypatch):
    list(Progress("validate").over(range(1000)))
    assert capsys.readouterr().err == ""  # it took no minute
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with watched_by(log := Log()):
        list(Progress("validate", total=9).over(range(9)))
    shown = capsys.readouterr().err
    assert "9/9" in shown and "rows ·" not in shown and len(log.lines) == 9


def test_a_command_whose_output_is_a_file_writes_lines(tmp_path):
    row = '{"query": "What is the limit?", "context": "The limit is 40 bar.", "answer": "40 bar."}\n'
    (tmp_path / "rows.jsonl").write_text(row * 5)
    code = "from tasks.engine import progress; progress.LINE_EVERY = 0; from flows.cli.app import main; main()"
    with (tmp_path / "log.txt").open("w") as log:
        command = [sys.executable, "-c", code, "score", str(tmp_path / "rows.jsonl")]
        subprocess.run(command, stdout=log, stderr=log, check=True)
    assert "score: 5 rows · " in (tmp_path / "log.txt").read_text()


def test_in_prefect_one_chart_is_kept_up_to_date(prefect_server, always):
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.orchestration.ui_artifacts import PrefectWatcher

    @task
    def train() -> None:
        with watched_by(PrefectWatcher()), TrainingProgress() as shown:
            shown.update({"step": 0, "max_steps": 0, "message": "base in nf4"})
            for line in lines(4):
                shown.update(line)

    @flow
    def toy() -> None:
        train()

    toy()
    with get_client(sync_client=True) as client:
        keys = ArtifactFilterKey(any_=["train-loss", "train-progress"])
        artifacts = client.read_artifacts(artifact_filter=ArtifactFilter(key=keys))
    assert sorted(each.key for each in artifacts) == ["train-loss", "train-progress"]
    data = {each.key: each.data for each in artifacts}
    assert data["train-progress"] == 100
    assert data["train-loss"].startswith("step 4 of 4 · loss 0.25\n")
    assert data["train-loss"].endswith(loss_image(lines(4)))


def test_the_status_tells_step_losses_and_what_is_left():
    told = [*lines(120), {"step": 120, "max_steps": 280, "eval_loss": 0.51}]
    told = [{**line, "max_steps": 280} for line in told]
    assert training_status(told, 192.0) == "step 120 of 280 · loss 0.01 · held-out 0.51 · about 3 min left"
    faster = {**told[-1], "tokens_per_second": 12345}
    assert training_status([*told, faster], None).endswith("held-out 0.51 · 12,345 tokens/s")
    assert training_status(told[:1], 41.6) == "step 1 of 280 · loss 1.00 · about 42 s left"
    assert training_status([{"step": 0, "max_steps": 5, "loss": None}], None) == "step 0 of 5"


@pytest.mark.parametrize(
    ("pace", "left"),
    [
        ([], None),
        ([(0.0, 3)], None),
        ([(0.0, 3), (1.0, 3)], None),  # no step was done meanwhile
        ([(0.0, 0), (10.0, 20), (40.0, 40)], 60.0),
        ([(0.0, 80), (10.0, 100)], None),  # done
    ],
)
def test_what_is_left_goes_by_the_pace_so_far(pace, left):
    assert seconds_left(pace, 100) == left


def test_lines_of_before_a_resume_tell_no_pace(capsys):
    with TrainingProgress() as progress:
        for line in lines(3):
            progress.update(line)
        progress.begin()
        progress.update({"step": 3, "max_steps": 9})
        assert seconds_left(progress.pace, 9) is None


def test_a_prefect_server_that_is_away_never_ends_a_training_and_is_told_of_once(prefect_server, always, monkeypatch):
    """The network to the server is cut in the middle of the training and mended before its end."""
    from urllib.parse import urlsplit

    from prefect import task
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.orchestration import ui_artifacts
    from tests.outage import Outage
    from tests.toy_flow import in_flow

    warnings: list[str] = []
    log = SimpleNamespace(
        warning=lambda *text: warnings.append(text[0]), info=lambda *text: None, handlers=[], propagate=False
    )
    monkeypatch.setattr(ui_artifacts, "get_run_logger", lambda: log)
    network = Outage(urlsplit(PREFECT_API_URL.value()).port)

    @task
    def train() -> None:
        with watched_by(ui_artifacts.PrefectWatcher()), TrainingProgress() as training:
            for line in lines(9):
                if line["step"] == 4:
                    network.cut()
                if line["step"] == 8:
                    network.mend()
                training.update(line)

    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{network.port}/api"}):
        in_flow(train)
    assert len(warnings) == 1
    with get_client(sync_client=True) as client:
        keys = ArtifactFilterKey(any_=["train-loss"])
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=keys))
    assert any(each.data.startswith("step 9 of 9") for each in found)


@pytest.mark.parametrize("level", [logging.INFO, logging.CRITICAL], ids=["worker", "terminal"])
def test_a_line_is_on_standard_error_once_whether_prefect_logs_to_it_or_not(prefect_server, monkeypatch, capfd, level):
    from prefect.logging.handlers import PrefectConsoleHandler

    from flows.orchestration.ui_artifacts import PrefectWatcher
    from tests.toy_flow import in_flow

    logger = logging.getLogger("prefect.flow_runs")
    monkeypatch.setattr(logger, "handlers", [PrefectConsoleHandler(level=level)])
    monkeypatch.setattr(logger, "propagate", False)

    def job() -> None:
        with watched_by(PrefectWatcher()):
            say("12 rows are left out")

    in_flow(job)
    assert capfd.readouterr().err.count("12 rows are left out") == 1
