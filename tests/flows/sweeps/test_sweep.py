"""A sweep: what is varied, what is refused, and what its trials share, on real runs of the tiny base."""

import json
import os
import subprocess
import sys
from base64 import b64decode
from collections import Counter
from xml.etree import ElementTree

import pytest

from flows.config import TINY, load
from flows.promotion.promotions import Promotions
from flows.sweeps.outcome import Outcome, Row, image, markdown
from flows.sweeps.search import Search, values
from flows.sweeps.trials import Trial, TrialPlan, distinct, preview
from tasks.engine.errors import UserError
from tests.flows.conftest import ROOT, Project, lay


def grid(*settings: str, config=None) -> list[Trial]:
    (found,) = distinct(Search(config=config or load(TINY), over=values(settings)))
    return found


def planned(folder, *settings: str) -> list[TrialPlan]:
    return preview(Search(config=load(TINY, [f"store={folder}"]), over=values(settings)))


SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("train.lora.r=8,16,32", [8, 16, 32]),
        ("train.lora.r = 8", [8]),
        ("train.learning_rate=1e-4, 2.0e-4", ["1e-4", 2.0e-4]),  # YAML wants a dot; pydantic takes the text
        ("train.lora.target_modules=[q_proj,v_proj],[q_proj]", [["q_proj", "v_proj"], ["q_proj"]]),
        ("train.lora.target_modules=all-linear,[q_proj]", ["all-linear", ["q_proj"]]),
        ("data.evaluation=null,held.jsonl", [None, "held.jsonl"]),
        ('name="a, b",c', ["a, b", "c"]),
        ("slices.enabled=true,false", [True, False]),
    ],
)
def test_values_are_yaml_between_commas(setting, found):
    assert list(values([setting]).values()) == [found]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["train.lora.r"], "write it as name=value"),
        (["train.lora.r="], "train.lora.r has no value"),
        (["train.lora.r=[8,16"], "is no list of values"),
        (["train.lora.r=8", "train.lora.r=16"], "train.lora.r is given twice"),
        ([], "two values or more"),
        (["train.lora.r=8"], "two values or more"),
        (["train.lora.dropuot=0,0.1"], "did you mean 'dropout'?"),
        (["train.lora.r=8,zero"], "train.lora.r"),
        (["train.learning_rate=1e-4,-1"], "greater than 0"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_a_remedy(settings, says):
    with pytest.raises(UserError, match=".") as refused:
        grid(*settings)
    assert says in str(refused.value) and refused.value.remedy


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("train.fit=as_given,auto", "train.fit=as_given and auto"),
        ("name=a,b", "name=a and b"),
        ("promotion.mode=auto,manual", "promotion.mode=auto and manual"),
        ("train.learning_rate=1e-4,0.0001", "train.learning_rate=1e-4 and 0.0001"),
        ("train.lora.r=8,8", "train.lora.r=8 twice"),
    ],
)
def test_trials_that_would_give_the_same_result_are_refused(tmp_path, setting, says):
    with pytest.raises(UserError) as refused:
        planned(tmp_path, setting)
    assert says in refused.value.what and "no step is made from what differs" in refused.value.what


def test_the_grid_varies_the_last_setting_fastest_and_one_value_holds_for_all():
    found = grid("train.lora.r=8,16", "train.epochs=2", "train.seed=1,2")
    assert [trial.number for trial in found] == [1, 2, 3, 4]
    assert [trial.overrides for trial in found] == [
        [f"train.lora.r={r}", f"train.seed={seed}"] for r in (8, 16) for seed in (1, 2)
    ]
    assert [(each.config.train.lora.r, each.config.train.seed) for each in found] == [(8, 1), (8, 2), (16, 1), (16, 2)]
    assert {each.config.train.epochs for each in found} == {2.0}


def test_only_the_first_trial_makes_what_all_have_in_common(tmp_path):
    first, second = planned(tmp_path, "train.lora.r=8,16")
    common = {step.label for step in second.shared}
    assert {"validate", "validate evaluation", "build", "answer base", "score base"} <= common
    assert {"train", "answer tuned"} <= {step.label for step in second.runs}
    assert common <= {step.label for step in first.runs} and not first.shared


def rows(*losses: float | None, measured_on: str = "rows") -> list[Row]:
    return [
        Row(at, {"train.lora.r": 8 * at}, heldout_loss=value, measured_on=[measured_on], decision="promote")
        for at, value in enumerate(losses, start=1)
    ]


def test_the_best_has_the_least_held_out_loss_and_a_choice_among_many_is_told_to_be_in_part_luck():
    outcome = Outcome([*rows(0.52, 0.48, 0.5), Row(4, {"train.lora.r": 32}, error="out of | memory")])
    assert outcome.best.number == 2
    shown = markdown(outcome)
    assert "| **best** | 16 | 0.480 |" in shown and r"failed: out of \| memory" in shown
    assert "winner's curse" in shown and "Nothing was promoted" in shown
    drawn = ElementTree.fromstring(b64decode(image(outcome).partition("base64,")[2].removesuffix(")")))
    dots = {float(dot.get("cx")): (float(dot.get("cy")), float(dot.get("r"))) for dot in drawn.iter(f"{SVG}circle")}
    heights = [dots[across][0] for across in sorted(dots)]
    assert len(dots) == 3 and max(heights) == heights[1]  # pixels count from the top
    assert max(dots.values())[1] == max(radius for _, radius in dots.values())
    assert Outcome.of(json.loads(json.dumps(outcome.plain()))) == outcome


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([*rows(0.5), *rows(0.1, measured_on="others")], "held-out rows or base models differ"),
        (rows(None, None), "there is no held-out loss"),
    ],
)
def test_losses_that_cannot_be_compared_have_no_best(found, why):
    outcome = Outcome(found)
    assert outcome.best is None and image(outcome) == ""
    assert why in markdown(outcome)


class Sweeping(Project):
    """A project whose sweeps are run as the terminal runs them."""

    def sweep(self, *flags: str, over: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        words = [word for setting in (*self.words, *over) for word in ("--set", setting)]
        shown = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(self.scratch / "prefect")}
        command = [sys.executable, "-m", "flows.cli", "sweep", *words, *flags]
        return subprocess.run(command, cwd=ROOT, env=shown, capture_output=True, text=True)

    def outcome(self, *over: str, flags: tuple[str, ...] = ()) -> dict:
        done = self.sweep("--json", *flags, over=over)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    @property
    def made(self) -> Counter:
        """How many artifacts of each step the store has."""
        return Counter(path.parent.parent.name for path in self.store.glob("[!.]*/*/manifest.json"))


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.usefixtures("loaded_training")
def test_a_sweep_makes_what_is_common_once_goes_on_where_it_was_and_outlives_a_failing_trial(tmp_path):
    lay(tmp_path)
    project = Sweeping(tmp_path, tmp_path / "store", tmp_path)
    first = project.outcome("train.lora.r=2,4", "train.seed=1")
    once = {"validate": 2, "build": 1, "answer": 3, "train": 2, "gate": 2, "report": 2}
    assert {step: project.made[step] for step in once} == once
    assert [trial["settings"] for trial in first["trials"]] == [{"train.lora.r": 2}, {"train.lora.r": 4}]
    assert {"validate", "build", "answer base", "score base"} <= set(first["trials"][1]["cached"])
    losses = [trial["heldout_loss"] for trial in first["trials"]]
    assert first["best"] == 1 + losses.index(min(losses))
    assert all(metric["low"] <= metric["value"] <= metric["high"] for metric in first["trials"][0]["metrics"])
    assert Promotions(load(None, [f"store={project.store}"]).open_store()).state.champion is None

    # A sweep that was cut short is one whose first trials are there.
    more = project.outcome("train.lora.r=2,4", "train.seed=1", "train.lora.target_modules=all-linear,[no_proj]")
    assert [bool(trial["error"]) for trial in more["trials"]] == [False, True, False, True]
    assert [trial["ran"] for trial in more["trials"]] == [[], [], [], []]
    assert [trial["heldout_loss"] for trial in more["trials"] if not trial["error"]] == losses
    assert "train.lora.target_modules names 'no_proj'" in more["trials"][1]["error"]
    assert project.made["train"] == 2
