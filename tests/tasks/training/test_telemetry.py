"""What a training costs: FLOPs against torch's own count, tokens against the dataset's, in real trainings of a toy."""

import math
import time

import pytest

from tasks.engine.progress import TrainingProgress
from tasks.training.outputs import seal
from tasks.training.telemetry import NO_SUMS, Flops, Meter, Observer, Sums, figures, flops_of, matrix_rate
from tests.tasks.tiny import inputs_in
from tests.tasks.training.jobs import WHOLE, job_of, recipe, trainer_of


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return inputs_in(tmp_path_factory.mktemp("inputs"), rows=6)


def model_of(inputs, folder, lora=None, **settings):
    from tasks.training.adapter import load_with_adapter

    return load_with_adapter(job_of(recipe(lora, **settings), inputs, folder))


def test_flops_are_those_that_torch_counts_of_a_real_pass(inputs, tmp_path):
    """Both ways, with eager attention, which computes all pairs; but for the gradients of what the first layer takes,
    which nobody asks for: 2 FLOPs a weight of its q, k and v, and of their A."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = model_of(inputs, tmp_path, model={"quantization": "none", "attention": "eager"})
    ids = torch.randint(5, 250, (1, 48))
    with FlopCounterMode(display=False) as counted:
        model(ids, labels=ids).loss.backward()
    flops = flops_of(model)
    tokens = ids.numel()
    first = 2 * (3 * 64 * 64 + 3 * 4 * 64)
    assert list(flops.pairs) == [None]
    expected = tokens * (flops.token + flops.scored - first) + tokens**2 * flops.pairs[None]
    assert counted.get_total_flops() == expected


def test_packed_weights_count_as_whole_ones_and_ranks_of_layers_as_they_are(inputs, tmp_path):
    assert flops_of(model_of(inputs, tmp_path / "nf4", speed="plain")) == flops_of(
        model_of(inputs, tmp_path / "whole", **WHOLE)
    )
    more = flops_of(model_of(inputs, tmp_path / "more", {"rank_pattern": {"down_proj": 8}}))
    four = flops_of(model_of(inputs, tmp_path / "four"))
    a_layer = 6 * 4 * (64 + 128)
    assert (more.token - four.token, more.scored - four.scored) == (a_layer, a_layer)  # the last layer's is for answers


def test_layers_see_as_far_as_their_window(tmp_path):
    import peft
    from transformers import AutoModelForCausalLM, Gemma3TextConfig, MistralConfig, MixtralConfig

    small = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
    small |= {"num_key_value_heads": 1, "head_dim": 32, "num_hidden_layers": 6}

    def of(config):
        return flops_of(
            peft.get_peft_model(
                AutoModelForCausalLM.from_config(config), peft.LoraConfig(r=2, target_modules=["q_proj"])
            )
        )

    a_layer = 12 * 2 * 32
    assert of(MistralConfig(**small, sliding_window=None)).pairs == {None: 6 * a_layer}
    assert of(MistralConfig(**small, sliding_window=128)).pairs == {128: 6 * a_layer}
    assert of(Gemma3TextConfig(**small, sliding_window=16)).pairs == {16: 5 * a_layer, None: a_layer}
    mixture = MixtralConfig(**small, num_local_experts=2)
    assert of(mixture) is None  # not every weight works on each token


def test_padding_is_computed_and_of_no_use():
    import torch

    ignored, flops = -100, Flops(token=100, scored=10, pairs={None: 1, 2: 1})
    packed_batch = {
        "input_ids": torch.tensor([[7, 7, 7, 7, 7]]),
        "position_ids": torch.tensor([[0, 1, 2, 0, 1]]),
        "labels": torch.tensor([[ignored, 7, 7, ignored, 7]]),
    }
    padded_batch = {
        "input_ids": torch.tensor([[7, 7, 7], [7, 7, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "labels": torch.tensor([[ignored, 7, 7], [ignored, 7, ignored]]),
    }
    of_packed, of_padded = (Meter(flops, rate=None) for _ in range(2))
    of_packed.count(packed_batch)
    of_padded.count(padded_batch)
    assert of_packed.counts.tolist() == [5, 5, 3, 1 + 2 + 3 + 1 + 2, 1 + 2 + 2 + 1 + 2]
    assert of_padded.counts.tolist() == [5, 6, 3, 9, 8]


def test_the_clock_stands_while_it_is_paused_and_mfu_is_what_flops_say():
    import torch

    meter = Meter(Flops(token=100, scored=10, pairs={None: 1}), rate=1000.0)
    batch = {"input_ids": [[7, 7]], "position_ids": [[0, 1]], "labels": [[-100, 7]]}
    meter.count({name: torch.tensor(each) for name, each in batch.items()})
    meter.stop()
    stood = meter.seconds
    measured, again = (figures(meter.sums(since_last=True)) for _ in range(2))
    ended = time.monotonic()
    meter.start()
    assert again == {}  # no step since
    assert meter.seconds == stood and meter.began >= ended
    assert measured.pop("mfu") == round((2 * 100 + 10 + 3) / stood / 1000, 4)
    assert measured == dict.fromkeys(("tokens_per_second", "computed_tokens_per_second"), round(2 / stood))
    assert figures(meter.sums(since_last=False)).keys() == {"mfu", *measured}  # of all steps


def test_figures_are_of_all_processes_and_what_is_unknown_is_left_out():
    two = [2 * value for value in Sums(1, 10, 500, 800, 3e6, 1e6, math.nan)]
    assert figures(two) == {"tokens_per_second": 100, "computed_tokens_per_second": 160, "mfu": 0.3}
    assert figures(NO_SUMS) == {}


def test_an_observer_that_fails_is_reported_once_and_ends_nothing():
    said, calls = [], []
    observe = Observer("telemetry", said.append)
    assert observe(lambda: 1, 0) == 1
    for _ in range(2):
        assert observe(lambda: calls.append(1) or 1 / 0, 7) == 7
    assert (said, calls) == (["telemetry is off, the training goes on: ZeroDivisionError: division by zero"], [1])


@pytest.mark.parametrize(
    "broken",
    [
        "Meter.count",
        *(
            pytest.param(name, marks=[pytest.mark.slow, pytest.mark.nightly])
            for name in ("flops_of", "peak_mib", "figures", "Meter.sums", "Meter.stop")
        ),
    ],
)
def test_a_training_goes_on_without_telemetry_that_fails(broken, inputs, tmp_path, monkeypatch):
    from tasks.training import telemetry, trainer

    def fail(*_, **__):
        raise TypeError("of a model that nobody has seen")

    owner, name = (telemetry.Meter, broken.partition(".")[2]) if "." in broken else (trainer, broken)
    monkeypatch.setattr(owner, name, fail)
    job = job_of(recipe(max_steps=2), inputs, tmp_path)
    made = trainer_of(job)
    made.train()
    made.cost()
    assert made.state.global_step == 2
    assert "telemetry is off, the training goes on: TypeError" in job.metrics.read_text()


def test_measuring_the_device_draws_nothing_from_the_seeded_stream():
    import torch

    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert matrix_rate("cpu", torch.float32) > 1e8
    assert torch.equal(torch.get_rng_state(), before)


def test_a_resumed_training_counts_its_own_tokens_and_trackers_are_told_of_them(inputs, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    where = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    monkeypatch.setenv("HF_MLFLOW_LOG_ARTIFACTS", "0")
    config = recipe(max_steps=6, save_steps=4, logging_steps=2, eval_steps=3, report_to=("mlflow",))
    job = job_of(config, inputs, tmp_path)
    whole = trainer_of(job)
    whole.train()
    lengths = [sum(row) for row in whole.train_dataset.with_format(None)["seq_lengths"]]
    assert whole.meter.counts[0] == whole.meter.counts[1] == sum(lengths)  # six steps of one row: an epoch

    checkpoint = job.checkpoints / "checkpoint-4"
    seal(checkpoint)
    resumed = trainer_of(job)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    counts = resumed.meter.counts[0].item()
    assert counts in {one + other for one in lengths for other in lengths}
    client = MlflowClient(where)
    (run, *_) = client.search_runs(["0"])
    assert {"tokens_per_second", "computed_tokens_per_second", "peak_mib"} <= run.data.metrics.keys()


def test_the_bar_shows_tokens_a_second_and_mfu(capsys):
    with TrainingProgress() as progress:
        progress.update({"step": 1, "max_steps": 2, "loss": 0.5, "tokens_per_second": 12345, "mfu": 0.456})
        progress.update({"step": 2, "max_steps": 2})
    assert progress._in_bar == {"loss": "0.5", "tokens/s": "12,345", "MFU": "46%"}
