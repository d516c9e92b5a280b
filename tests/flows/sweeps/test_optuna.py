"""A sweep whose trials Optuna chooses: ranges, what is refused, and that the same losses lead to the same trials."""

import math
import shutil

import pytest

from flows.config import TINY, load
from flows.sweeps.outcome import Row
from flows.sweeps.search import Range, Search, values
from flows.sweeps.trials import AT_RANDOM, preview, proposed, scales
from tasks.engine.errors import UserError
from tests.flows.conftest import Project, lay
from tests.tasks.tiny import toy_base

RATE = "train.learning_rate=1e-5..1e-3"
RANK = "train.lora.r=8,16,32"


def search(*settings: str, trials: int | None = 12, **others) -> Search:
    asked = {"config": load(TINY), "engine": "optuna", "trials": trials}
    return Search(**(asked | others), over=values(settings))


def tried(asked: Search, loss) -> list[Row]:
    """The rows of a whole sweep in which a trial with these settings has this loss, or fails where that is None."""
    rows: list[Row] = []
    for trial in proposed(asked, rows):
        worth = loss(**{name.rpartition(".")[2]: value for name, value in trial.settings.items()})
        rows.append(Row(trial.number, trial.settings, heldout_loss=worth, error="failed" if worth is None else None))
    return rows


def far_from_a_ten_thousandth(learning_rate, **others) -> float:
    return abs(math.log10(learning_rate) + 4)


@pytest.mark.parametrize(
    ("setting", "low", "high"),
    [
        (RATE, 1e-5, 1e-3),
        ("train.lora.r = 4 .. 64", None, None),  # no blanks within: that is a value
        ("train.lora.r=4..64", 4, 64),
        ("train.lora.dropout=0..0.5", 0, 0.5),
        ("train.lora.dropout=.1...5", 0.1, 0.5),
        ("data.train=../rows.jsonl", None, None),
        ("name='1..2'", None, None),
        ("train.lora.r=1..2,4", None, None),
    ],
)
def test_two_numbers_and_two_dots_are_a_range(setting, low, high):
    (found,) = values([setting]).values()
    assert isinstance(found, list) if low is None else found == Range(low=low, high=high)


@pytest.mark.parametrize(
    ("settings", "others", "says"),
    [
        (["train.learning_rate=1e-3..1e-5"], {}, "the lesser first"),
        (["train.learning_rate=1..1e999"], {}, "two finite numbers"),
        (["train.learning_rate=0..1e-3"], {}, "greater than 0"),
        (["train.lora.dropout=0.1..1"], {}, "less than 1"),
        (["train.lora.r=1.5..4"], {}, "valid integer"),
        (["slices.enabled=0..1"], {}, "slices.enabled is no number"),
        (["train.optimizer=1..2"], {}, "train.optimizer is no number"),
        (["data.evaluation=1..2"], {}, "data.evaluation is no number"),
        (["train.lernin_rate=1..2"], {}, "did you mean"),
        (["train.lora.r=8"], {}, "two values or more"),
        (["workers=1..4"], {}, "would give the same result"),
        (["train.lora.r=8,8"], {}, "would give the same result"),
        ([RATE], {"trials": None}, "--trials 12"),
        ([RATE], {"engine": "grid", "trials": None}, "--engine optuna"),
        ([RANK], {"engine": "grid"}, "trials and seed are for optuna"),
        ([RANK], {"engine": "grid", "trials": None, "seed": 1}, "trials and seed are for optuna"),
    ],
)
def test_what_optuna_or_the_grid_cannot_do_is_refused_with_a_remedy(tmp_path, settings, others, says):
    with pytest.raises(UserError) as refused:
        preview(search(*settings, **({"config": load(TINY, [f"store={tmp_path}"])} | others)))
    assert says in str(refused.value) and refused.value.remedy


def test_the_same_seed_and_losses_lead_to_the_same_trials_and_more_trials_go_on_from_there():
    twelve = tried(search(RATE, RANK), far_from_a_ten_thousandth)
    assert len(twelve) == 12 and [row.number for row in twelve] == [*range(1, 13)]
    assert tried(search(RATE, RANK), far_from_a_ten_thousandth) == twelve
    assert tried(search(RATE, RANK, trials=14), far_from_a_ten_thousandth)[:12] == twelve
    assert tried(search(RATE, RANK, seed=1), far_from_a_ten_thousandth)[0] != twelve[0]


def test_losses_count_after_the_trials_at_random():
    near, far = (
        tried(search(RATE, trials=20), loss)
        for loss in (far_from_a_ten_thousandth, lambda learning_rate: -far_from_a_ten_thousandth(learning_rate))
    )
    settings = [[row.settings for row in rows] for rows in (near, far)]
    assert settings[0][:AT_RANDOM] == settings[1][:AT_RANDOM] and settings[0] != settings[1]
    late = [[far_from_a_ten_thousandth(s["train.learning_rate"]) for s in each[AT_RANDOM:]] for each in settings]
    assert sum(late[0]) < sum(late[1])


def test_values_are_from_the_list_or_within_the_range_and_short():
    asked = search(RATE, "train.lora.r=4..6", "train.lora.target_modules=all-linear,[q_proj,v_proj]", "train.epochs=2")
    rows = tried(asked, far_from_a_ten_thousandth)
    for row in rows:
        rate, rank, modules = row.settings.values()
        assert 1e-5 <= rate <= 1e-3 and rate == float(f"{rate:.3g}")
        assert rank in (4, 5, 6) and isinstance(rank, int)
        assert modules in ("all-linear", ["q_proj", "v_proj"])
    assert scales(search(RATE, "train.lora.r=4..6")) == [
        "train.learning_rate from 1e-05 to 0.001 on a log scale",
        "train.lora.r from 4 to 6 on a linear scale",
    ]


def test_a_trial_that_fails_ends_no_other_and_neither_does_a_combination_that_the_config_refuses():
    asked = search(RATE, "train.lora.init=default,loftq", "train.lora.use_dora=false,true")
    rows = tried(asked, lambda learning_rate, **others: None if learning_rate > 2e-4 else learning_rate)
    assert len(rows) == 12
    errors = [row.error or "" for row in rows]
    assert "failed" in errors and "" in errors and any("use_dora" in error for error in errors)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"heldout_loss": None}, "there is no held-out loss"), ({"measured_on": ["others"]}, "cannot be compared")],
)
def test_without_losses_that_can_be_compared_optuna_gives_up(given, says):
    rows = [Row(0, {}, heldout_loss=0.5)] if "measured_on" in given else []
    suggestions = proposed(search(RATE), rows)
    first = next(suggestions)
    rows.append(Row(first.number, first.settings, **({"heldout_loss": 0.4} | given)))
    with pytest.raises(UserError, match=says):
        next(suggestions)


def test_a_dry_run_foresees_the_trials_that_depend_on_no_result(tmp_path):
    asked = search(RATE, RANK, config=load(TINY, [f"store={tmp_path}"]))
    settings = [plan.trial.settings for plan in preview(asked)]
    assert settings == [row.settings for row in tried(asked, far_from_a_ten_thousandth)[:AT_RANDOM]]
    few = asked.model_copy(update={"trials": 2})
    assert [plan.trial.settings for plan in preview(few)] == settings[:2]


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.usefixtures("prefect_server", "loaded_training")
def test_a_sweep_by_optuna_that_is_run_again_finds_its_trials_in_the_store_and_goes_on_from_there(tmp_path):
    from flows.sweep import Sweep, sweep

    lay(tmp_path)
    shutil.rmtree(tmp_path / "base")
    toy_base(tmp_path / "base")
    config = Project(tmp_path, tmp_path / "store", tmp_path).config

    def swept(trials: int) -> list[dict]:
        asked = search("train.lora.r=2..4", RATE, config=config, trials=trials)
        return sweep(Sweep(**dict(asked)), return_state=True).result()["trials"]

    first, more = swept(2), swept(3)
    for name in ("settings", "heldout_loss", "adapter"):
        assert [trial[name] for trial in more[:2]] == [trial[name] for trial in first]
    assert ["train" in trial["ran"] for trial in first] == [True, True]
    assert [trial["ran"] for trial in more[:2]] == [[], []] and "train" in more[2]["ran"]
    assert "build" in more[2]["cached"]
