"""What the tests of a card share. Those that need one are skipped without; the others run on what there is."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.engine.code.source import ROOT
from tests.bench import _gpu_data, _gpu_models
from tests.tasks.tiny import packed


class Inputs(NamedTuple):
    """Folders: a base model, and rows to train it on, packed."""

    base: Path
    train: Path


@pytest.fixture(scope="session")
def card():
    """Bytes of the card's memory; without a card the test is skipped."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA card, and torch finds none")
    return torch.cuda.get_device_properties(0).total_memory


@pytest.fixture(scope="session")
def seven_b(card, tmp_path_factory):
    """Mistral 7B's shape with random weights, 14.5 GB, and rows of the sample in sequences of 1,024 tokens."""
    folder = tmp_path_factory.mktemp("bases") / "mistral-7b"
    words = [sys.executable, "-m", "tests.bench._gpu_models", folder.name, str(folder)]
    subprocess.run(words, cwd=ROOT, check=True)  # a process of its own, which leaves the card again
    return Inputs(folder, _gpu_data.make(tmp_path_factory.mktemp("rows"), 100, 1024).train)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return Inputs(_gpu_models.make("mistral-toy", folder / "base"), packed(folder / "train", rows=12))


@pytest.fixture(scope="session", params=["toy", "seven_b"])
def inputs(request):
    """A toy, on a CPU if need be; and on a card a 7B model, too."""
    return request.getfixturevalue(request.param)
