"""What the tests of a card share: the card, and base models and rows of the sizes that are trained there."""

import subprocess
import sys

import pytest

from tasks.versioning.source import ROOT
from tests.bench import _gpu_data


@pytest.fixture(scope="session")
def card():
    """Tests that use it are skipped where there is none."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA card, and torch finds none")


@pytest.fixture(scope="session")
def seven_b(card, tmp_path_factory):
    """A base of random weights in the shape of Mistral 7B: 14.5 GB, made in a process that leaves the card again."""
    folder = tmp_path_factory.mktemp("bases") / "mistral-7b"
    subprocess.run([sys.executable, "-m", "tests.bench._gpu_models", folder.name, folder], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """Rows of the sample, longer, packed into sequences of 1,024 tokens."""
    return _gpu_data.make(tmp_path_factory.mktemp("rows"), 100, 1024)
