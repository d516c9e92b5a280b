"""A training that is killed at a checkpoint goes on with its loss curve: the same on a CPU, nearly so on a card."""

import subprocess
import sys

import pytest

from tasks.training.config import LoraConfig, TrainConfig
from tasks.training.outputs import last_intact
from tests.gpu.trained import trained
from tests.tasks.training.trained import children_of
from tests.waiting import wait_until

CONFIG = TrainConfig(
    batch_size=1,
    accumulation=1,
    max_steps=12,
    save_steps=4,
    logging_steps=1,
    learning_rate=1e-3,
    lora=LoraConfig(dropout=0.0),
)
RUN = """
import sys
from pathlib import Path
from tests.gpu.conftest import Inputs
from tests.gpu.test_resume import CONFIG
from tests.gpu.trained import trained
trained(Path(sys.argv[1]), Inputs(Path(sys.argv[2]), Path(sys.argv[3])), CONFIG)
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_a_training_killed_at_a_checkpoint_goes_on_with_its_loss_curve(inputs, tmp_path):
    import torch

    whole = trained(tmp_path / "whole", inputs, CONFIG)
    work = tmp_path / "killed/work"
    parent = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path / "killed"), *map(str, inputs)])
    wait_until(lambda: last_intact(work / "checkpoints"), parent)
    parent.kill()  # its child dies with it
    parent.wait()
    wait_until(lambda: not children_of(work))
    resumed = trained(tmp_path / "killed", inputs, CONFIG)
    assert "resuming from checkpoint-" in resumed.messages
    tolerance = 5e-3 if torch.cuda.is_available() else 0
    assert resumed.losses == pytest.approx(whole.losses, rel=tolerance, abs=0)
    assert list(resumed.losses) == list(range(1, 13))
