"""Training for real: NF4 by bitsandbytes, LoRA by PEFT, TRL's trainer, in a child process, on a toy model."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tasks.engine.errors import UserError
from tasks.train import train
from tasks.training.config import LoraConfig, TrainConfig
from tasks.training.job import Job
from tasks.training.launch import run_child
from tasks.training.outputs import last_intact, seal
from tests.tasks.tiny import inputs_in
from tests.tasks.training import reporting_child
from tests.tasks.training.trained import QUICK, RUN, children_of, content, start
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.usefixtures("loaded_training")
SLOW = [pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return inputs_in(tmp_path_factory.mktemp("inputs"), rows=12)


def run(config: TrainConfig, inputs: dict, folder: Path) -> Path:
    work, out = folder / "work", folder / "out"
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True)
    measured = train(config, **inputs, work=work, out=out)
    assert measured["tokens_per_second"] > 0
    return out


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    return run(QUICK, inputs, tmp_path_factory.mktemp("undisturbed"))


def test_it_writes_an_adapter_that_peft_loads_and_that_changes_the_answer(undisturbed, inputs):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(inputs["base"], dtype=torch.float32)
    ids = torch.tensor([[1, 20, 30, 40]])
    before = base(ids).logits
    tuned = PeftModel.from_pretrained(base, undisturbed / "adapter")
    assert not torch.equal(tuned(ids).logits, before)


def test_unpacked_weights_give_the_same_bytes_as_packed_ones(undisturbed, inputs, tmp_path):
    packed_out = run(QUICK.model_copy(update={"speed": "plain"}), inputs, tmp_path)
    assert content(packed_out) == content(undisturbed)
    said = [(out.parent / "work/metrics.jsonl").read_text() for out in (undisturbed, packed_out)]
    assert ["base in nf4, unpacked once" in text for text in said] == [True, False]


def test_its_files_name_no_path_of_this_machine(undisturbed, inputs):
    for name, each in content(undisturbed).items():
        assert str(inputs["base"]).encode() not in each, name


def test_the_loss_curve_holds_training_and_held_out_loss(undisturbed):
    lines = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(2, 25, 2))
    assert [line["step"] for line in lines if "eval_loss" in line] == [0, 8, 16, 24]
    report = json.loads((undisturbed / "report.json").read_text())
    assert report["steps"] == 24
    assert report["examples"] == 24
    assert report["held_out_loss_after"] < report["held_out_loss_before"]


COST = {"tokens_per_second", "computed_tokens_per_second", "mfu", "peak_mib"}


def test_the_record_and_every_log_line_tell_what_the_training_cost(undisturbed):
    work = undisturbed.parent / "work"
    measured = json.loads((work / "measured.json").read_text())
    assert measured.keys() >= COST | {"train_seconds", "predicted_mib"}
    assert measured["tokens_per_second"] == measured["computed_tokens_per_second"]  # nothing is padded
    assert 0 < measured["mfu"] < 1
    assert "watts" not in measured  # rather than 0
    logged = [line for line in map(json.loads, (work / "metrics.jsonl").read_text().splitlines()) if "loss" in line]
    assert logged and all(line.keys() >= COST for line in logged)
    assert not any(name in (undisturbed / "metrics.jsonl").read_text() for name in COST)  # that is the recipe's alone


def test_a_killed_training_leaves_no_child_resumes_and_ends_with_the_same_bytes(undisturbed, inputs, tmp_path):
    """It is another thread that trains, as Prefect has it: Linux tells a child when its parent's thread ends."""
    code = RUN.replace("\ntrain(", "\nimport threading\nthreading.Thread(target=lambda: train(")
    parent = start(inputs, tmp_path, code.rstrip() + ").start()\n")
    work = tmp_path / "work"
    wait_until(lambda: last_intact(work / "checkpoints"), parent)
    assert children_of(work)
    parent.kill()
    parent.wait()
    wait_until(lambda: not children_of(work))
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    train(QUICK, **inputs, work=work, out=resumed)
    assert "resuming from checkpoint-" in (work / "metrics.jsonl").read_text()
    assert content(resumed) == content(undisturbed)


def test_deterministic_trainings_give_the_same_bytes_and_begin_with_what_cuda_needs(inputs, tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setenv("FLASH_ATTENTION_DETERMINISTIC", "0")  # what a user sets is left alone

    def trained(name: str, deterministic: bool) -> tuple[dict[str, bytes], dict]:
        config = QUICK.model_copy(update={"max_steps": 4, "deterministic": deterministic})
        work, out = tmp_path / name / "work", tmp_path / name / "out"
        for folder in (work, out):
            folder.mkdir(parents=True)
        run_child(Job(config=config, **inputs, work=work, out=out), module=reporting_child.__name__)
        return content(out), json.loads((work / "started.json").read_text())

    (first, started), (second, _), (_, plainly) = trained("a", True), trained("b", True), trained("c", False)
    assert first == second
    assert (started["deterministic"], plainly["deterministic"]) == (True, False)
    assert started["environment"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert started["environment"]["FLASH_ATTENTION_DETERMINISTIC"] == "0"
    assert "CUBLAS_WORKSPACE_CONFIG" not in plainly["environment"]


@pytest.mark.parametrize(  # in an epoch with an evaluation to come, with none, at an epoch's end
    "steps", [5, pytest.param(8, marks=SLOW), pytest.param(12, marks=SLOW)]
)
def test_a_training_killed_behind_its_last_step_does_no_more(inputs, tmp_path, steps):
    config = QUICK.model_copy(update={"max_steps": steps})
    first = run(config, inputs, tmp_path / "first")
    again = tmp_path / "again"
    again.mkdir()
    train(
        config, **inputs, work=tmp_path / "first/work", out=again
    )  # its work is as a kill before publishing leaves it
    assert f"resuming from checkpoint-{steps}" in (tmp_path / "first" / "work" / "metrics.jsonl").read_text()
    assert content(again) == content(first)


def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path):
    for step, sealed in ((2, True), (10, True), (12, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_text("w")
        if sealed:
            seal(folder)
    assert last_intact(tmp_path).name == "checkpoint-10"
    (tmp_path / "checkpoint-10/weights").write_text("x")
    assert last_intact(tmp_path).name == "checkpoint-2"


class Bomb:
    """Pickled, it makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(scope="module")
def stopped(inputs, tmp_path_factory):
    """The work folder of a training that can go on from checkpoint-4."""
    folder = tmp_path_factory.mktemp("stopped")
    run(QUICK.model_copy(update={"max_steps": 4}), inputs, folder)
    state = folder / "work/checkpoints/checkpoint-4/trainer_state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "max_steps": 6}))  # as a killed one leaves it
    seal(state.parent)
    return folder / "work"


@pytest.mark.parametrize(
    "name",
    [
        "rng_state.pth",  # the one for which transformers allows more than tensors: numpy's
        *(
            pytest.param(each, marks=[pytest.mark.slow, pytest.mark.nightly])
            for each in ("optimizer.pt", "scheduler.pt", "adapter_model.bin")
        ),
    ],
)
def test_a_pickle_in_a_checkpoint_is_not_run_though_its_seal_is_right(stopped, inputs, tmp_path, name):
    """Whoever can write a checkpoint can seal it, too: digests lie beside it."""
    import torch

    work = Path(shutil.copytree(stopped, tmp_path / "work"))
    checkpoint = last_intact(work / "checkpoints")
    torch.save({"python": Bomb(tmp_path / "ran")}, checkpoint / name)
    if name == "adapter_model.bin":  # PEFT takes it where the other is not
        (checkpoint / "adapter_model.safetensors").unlink()
    seal(checkpoint)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="could run code"):
        train(QUICK.model_copy(update={"max_steps": 6}), **inputs, work=work, out=tmp_path / "out")
    assert "resuming from checkpoint-4" in (work / "metrics.jsonl").read_text()
    assert not (tmp_path / "ran").exists()
    torch.load(checkpoint / name, weights_only=False)
    assert (tmp_path / "ran").exists()  # it would have


def test_a_misspelt_target_module_is_refused_with_the_nearest_name(inputs, tmp_path):
    config = QUICK.model_copy(update={"lora": LoraConfig(target_modules=("q_proj", "v_porj"))})
    with pytest.raises(UserError, match="'v_porj', which fits no layer; did you mean 'v_proj'"):
        run(config, inputs, tmp_path)


def test_a_loss_that_is_no_number_stops_the_training_with_a_remedy(inputs, tmp_path):
    config = QUICK.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30, "logging_steps": 1})
    with pytest.raises(UserError, match="the training loss is nan.*\n.*lower train.learning_rate"):
        run(config, inputs, tmp_path)


def test_a_last_step_that_no_line_tells_of_leaves_no_adapter_of_no_numbers(inputs, tmp_path):
    config = QUICK.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30, "logging_steps": 9, "max_steps": 3})
    with pytest.raises(UserError, match="weights that are not finite after step 3.*\n.*lower train.learning_rate"):
        run(config, inputs, tmp_path)
    assert last_intact(tmp_path / "work/checkpoints") is None
    assert not any((tmp_path / "out").iterdir())


CANCELLED = """
import json, signal, sys, threading
from pathlib import Path
from tasks.train import train
from tests.tasks.training.trained import QUICK

class Termination(BaseException):
    "As Prefect's own: raised by its handler of SIGTERM, in the main thread."

def end(*_):
    raise Termination

signal.signal(signal.SIGTERM, end)
folder = Path(sys.argv[1])
inputs = {name: Path(path) for name, path in json.loads(sys.argv[2]).items()}
for name in ("work", "out"):
    (folder / name).mkdir()
try:
    train(QUICK, **inputs, work=folder / "work", out=folder / "out")
except Termination:
    print("cancelled")
"""


@pytest.mark.parametrize(
    "stops", [pytest.param(False, id="a child that ends"), pytest.param(True, id="one that does not", marks=SLOW)]
)
def test_a_cancelled_parent_alone_ends_its_child_and_the_checkpoint_stays(inputs, tmp_path, stops):
    """SIGTERM to the flow's process, not to its group; and a child that is stopped hears nothing but SIGKILL."""
    work = tmp_path / "work"
    parent = start(inputs, tmp_path, CANCELLED, stdout=subprocess.PIPE)
    wait_until(lambda: last_intact(work / "checkpoints"), parent)
    if stops:
        for child in children_of(work):
            os.kill(int(child), signal.SIGSTOP)
    parent.terminate()
    output, _ = parent.communicate(timeout=PATIENCE)
    assert output == b"cancelled\n"
    assert children_of(work) == []
    assert last_intact(work / "checkpoints")
