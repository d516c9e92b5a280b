"""train.fit: smaller forward passes of the same batch once memory ran out; for real, in a limited address space."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.train import train
from tasks.training.config import LoraConfig, TrainConfig
from tasks.training.fit import Fit, current_fit, out_of_memory, save_fit
from tasks.training.job import Job
from tests.tasks.tiny import packed, toy_base
from tests.tasks.training.trained import children_of


@pytest.mark.parametrize(
    ("given", "then"),
    [((2, 4), [(1, 8)]), ((8, 1), [(4, 2), (2, 4), (1, 8)]), ((6, 1), [(3, 2), (1, 6)]), ((5, 2), [(2, 5), (1, 10)])],
)
def test_the_next_smaller_one_divides_the_same_batch(given, then):
    fit, found = Fit(*given), []
    while fit := fit.smaller():
        found.append(tuple(fit))
    assert found == then


def job(folder: Path, **settings) -> Job:
    places = dict.fromkeys(("train", "heldout", "base", "work", "out"), folder)
    return Job(config=TrainConfig(**settings), **places)


def test_what_fitted_is_used_again_only_where_the_config_leaves_it_open(tmp_path):
    save_fit(job(tmp_path), Fit(1, 8))
    assert current_fit(job(tmp_path, fit="auto")) == (1, 8)
    assert current_fit(job(tmp_path)) == (2, 4)


@pytest.mark.parametrize(
    ("settings", "fit", "remedy"),
    [
        ({}, Fit(2, 4), "set train.fit to auto, which continues from the last checkpoint.*batch_size to 1.*tion to 8"),
        ({}, Fit(1, 8), "^lower build.max_tokens or set train.gradient_checkpointing to on$"),
        ({"gradient_checkpointing": "on"}, Fit(1, 8), "^lower build.max_tokens$"),
        ({"model": {"quantization": "none"}}, Fit(1, 8), "quantization to nf4"),
    ],
)
def test_the_error_says_what_would_fit(settings, fit, remedy):
    error = out_of_memory(TrainConfig(**settings), fit, RuntimeError("CUDA out of memory. Tried to allocate 20 MiB."))
    assert error.what == f"out of memory with {fit.micro_batch} sequences at once: CUDA out of memory"
    assert re.search(remedy, error.remedy)


BATCH = 24
CONFIG = TrainConfig(
    batch_size=BATCH,
    accumulation=1,
    max_steps=2,
    save_steps=1,
    logging_steps=1,
    eval_steps=9,
    lora=LoraConfig(dropout=0),
)
LOGITS = 30  # MiB that a sequence takes at least, with a vocabulary of 50,000
LIMITED = """
import json, resource, sys
from pathlib import Path
from tasks.train import train
from tests.tasks.training.test_fit import CONFIG
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
inputs = {name: folder / name for name in ("train", "heldout", "base")}
config = CONFIG.model_copy(update={"fit": sys.argv[3]})
print(json.dumps(train(config, **inputs, work=folder / "work", out=folder / "out")))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training with all the memory it wants, put back to its first checkpoint; and how many bytes that was."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("trained")
    inputs = {
        "train": packed(folder / "train", rows=2 * BATCH),
        "heldout": packed(folder / "heldout", rows=2, seed=1),
        "base": toy_base(folder / "base"),
    }
    config = Qwen2Config.from_pretrained(inputs["base"], vocab_size=50_000)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(inputs["base"])
    for name in ("work", "out"):
        (folder / name).mkdir()
    peaks = [0]
    thread = threading.Thread(target=follow, args=(folder / "work", peaks), daemon=True)
    thread.start()
    train(CONFIG, **inputs, work=folder / "work", out=folder / "out")
    peaks.append(-1)
    thread.join()
    shutil.rmtree(folder / "work/checkpoints/checkpoint-2")
    return folder, peaks[0]


def follow(work: Path, peaks: list[int]) -> None:
    """Keep in peaks[0] the most address space that the training child has had, until another number comes."""
    while len(peaks) == 1:
        for process in children_of(work):
            if status := read(Path(f"/proc/{process}/status")):
                peaks[0] = max(peaks[0], int(status.partition("VmPeak:")[2].split()[0] or 0) << 10)
        time.sleep(0.02)


def read(path: Path) -> str:
    try:
        text = path.read_text()
    except OSError:
        return ""
    return text if "VmPeak" in text else ""


def limited(folder: Path, limit: int, fit: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-c", LIMITED, str(folder), str(limit), fit]
    return subprocess.run(words, text=True, capture_output=True)


def losses(folder: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.slow
@pytest.mark.nightly
def test_out_of_memory_goes_on_from_the_checkpoint_with_smaller_passes_of_the_same_batch(trained, tmp_path):
    original, most = trained
    folder = shutil.copytree(original, tmp_path / "run")
    shutil.rmtree(folder / "out")
    (folder / "out").mkdir()
    limit = most - BATCH // 4 * LOGITS * 2**20
    refused = limited(folder, limit, "as_given")
    assert "OutOfMemory: out of memory with 24 sequences at once" in refused.stderr
    assert "train.batch_size to 12 and train.accumulation to 2" in refused.stderr

    done = limited(folder, limit, "auto")
    assert done.returncode == 0, done.stderr
    assert (
        "train.fit is auto: continuing with 12 at once and 2 forward passes a step, the same batch of 24, from step 1"
        in done.stderr
    )
    saved_fit = json.loads((folder / "work/fit.json").read_bytes())
    fit = Fit(saved_fit["micro_batch"], saved_fit["accumulation"])
    assert fit.micro_batch <= BATCH // 2
    assert fit.batch == BATCH
    assert json.loads(done.stdout)["micro_batch"] == fit.micro_batch
    assert losses(folder) == pytest.approx(losses(original), abs=1e-3)
