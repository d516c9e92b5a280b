"""What a person sees of a training."""

import pytest

from tasks.progress import TrainingProgress, loss_curve


def lines(steps: int) -> list[dict]:
    return [{"step": step, "max_steps": steps, "loss": 1 / step} for step in range(1, steps + 1)]


def test_the_curve_of_a_long_training_is_thinned_and_keeps_its_start():
    curve = loss_curve(lines(1000))
    assert curve.count("```mermaid") == 1
    values = curve.split("line [")[1].split("]")[0].split(", ")
    assert values[0] == "1.0000"
    assert 35 <= len(values) <= 45


def test_held_out_loss_has_a_chart_of_its_own_and_a_loss_that_is_no_number_is_left_out():
    held_out = [{"step": step, "max_steps": 3, "eval_loss": 0.5} for step in range(3)]
    curve = loss_curve([*lines(3), {"step": 3, "max_steps": 3, "loss": None}, *held_out])
    assert 'title "held-out loss"' in curve
    assert "None" not in curve


def test_the_bar_shows_steps_and_loss(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with TrainingProgress() as progress:
        for line in lines(4):
            progress.update(line)
    assert (progress.bar.n, progress.bar.total) == (4, 4)
    assert "loss=0.25" in progress.bar.postfix


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_points_draw_nothing(count):
    assert loss_curve(lines(count)) == ""


def test_in_prefect_one_chart_is_kept_up_to_date(prefect_server, monkeypatch):
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from tasks import progress

    monkeypatch.setattr(progress, "PREFECT_EVERY", 0.0)

    @task
    def train() -> None:
        with TrainingProgress() as shown:
            shown.update({"step": 0, "max_steps": 0, "said": "base in nf4"})
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
    assert "0.2500" in data["train-loss"]
