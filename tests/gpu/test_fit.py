"""train.fit on cards of 24, 16 and 12 GB, of which this one plays the part; and what was predicted beside the peak.

The cap reaches the training's own process by its environment: torch's allocator takes per_process_memory_fraction from
PYTORCH_CUDA_ALLOC_CONF as torch.cuda.set_per_process_memory_fraction would set it.
"""

from typing import Any

import pytest

from tasks.engine.errors import UserError
from tasks.training.config import LoraConfig, TrainConfig
from tasks.training.memory import CONTEXT
from tests.gpu.trained import trained

CONFIG = TrainConfig(batch_size=4, accumulation=4, max_steps=3, logging_steps=1, lora=LoraConfig(dropout=0.0))
AUTO = CONFIG.model_copy(update={"fit": "auto"})


def share(gib: float, card: int) -> str:
    """The setting by which torch's allocator has as much as on a card of `gib` GiB, where CUDA takes its part."""
    return f"per_process_memory_fraction:{min(1.0, (gib * 2**30 - CONTEXT) / card):.6f}"


def test_a_share_of_a_card_is_what_a_smaller_one_has_beside_cudas_own_part():
    assert share(12, 24 << 30) == f"per_process_memory_fraction:{0.5 - CONTEXT / (24 << 30):.6f}"
    assert share(24, 16 << 30) == "per_process_memory_fraction:1.000000"


@pytest.mark.parametrize("gib", [24, 16, 12])
def test_a_7b_model_trains_on_a_card_of(gib, card, seven_b, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", share(gib, card))
    done = trained(tmp_path, seven_b, AUTO)
    assert set(done.losses) == {1, 2, 3}
    assert done.fit["micro_batch"] * done.fit["accumulation"] == 16
    assert done.measured["peak_mib"] <= (gib * 2**30 - CONTEXT) / 2**20
    assert "checkpointing" in done.fit, "it fitted only after memory had run out: what is to be had was not seen"
    assert done.measured["predicted_mib"] == pytest.approx(done.measured["peak_mib"], rel=0.1)


def test_without_fit_auto_a_batch_that_is_too_large_for_the_card_is_refused(card, seven_b, tmp_path, monkeypatch):
    """So the cap holds in the training's own process."""
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", share(8, card))
    large = CONFIG.model_copy(update={"batch_size": 16, "accumulation": 1, "gradient_checkpointing": "off"})
    with pytest.raises(UserError, match="out of memory with 16 sequences at once"):
        trained(tmp_path, seven_b, large)


def test_memory_that_ran_out_is_found_again_by_smaller_passes_of_the_same_batch(card, seven_b, tmp_path, monkeypatch):
    """What was chosen for more memory than there turns out to be; as where others take some of it meanwhile."""
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", share(12, card))
    work = tmp_path / "work"
    work.mkdir()
    (work / "fit.json").write_text('{"micro_batch": 16, "accumulation": 1, "checkpointing": false}')
    done = trained(tmp_path, seven_b, AUTO)
    assert done.fit["micro_batch"] < 16
    assert done.fit["micro_batch"] * done.fit["accumulation"] == 16
    assert set(done.losses) == {1, 2, 3}


WAYS: dict[str, tuple[int, dict[str, Any]]] = {  # GiB that the card must have, and settings
    "4 bits, recomputed": (12, {"speed": "plain", "gradient_checkpointing": "on"}),
    "4 bits": (40, {"speed": "plain", "gradient_checkpointing": "off"}),
    "unpacked, recomputed": (24, {"gradient_checkpointing": "on"}),
    "unpacked": (60, {"gradient_checkpointing": "off"}),
    "16 bits": (60, {"gradient_checkpointing": "off", "model": {"quantization": "none"}}),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_peak_on_the_card_is_predicted_within_a_tenth(way, card, seven_b, tmp_path):
    least, settings = WAYS[way]
    if card < least << 30:
        pytest.skip(f"needs a card of {least} GiB")
    config = TrainConfig.model_validate({**CONFIG.model_dump(), **settings})
    measured = trained(tmp_path, seven_b, config).measured
    assert measured["predicted_mib"] == pytest.approx(measured["peak_mib"], rel=0.1)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_toy_is_trained_as_these_tests_train(toy, tmp_path):
    """On a CPU, too, so that what they share is known to run."""
    done = trained(tmp_path, toy, AUTO)
    assert set(done.losses) == {1, 2, 3}
    assert done.fit["micro_batch"] * done.fit["accumulation"] == 16
    assert done.measured["predicted_mib"] > 0
