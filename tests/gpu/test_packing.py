"""Packed rows do not see each other, on a card either: not in 4 bits, unpacked or not, nor in 16."""

import gc
from typing import Any

import pytest

from tasks.training.config import LoraConfig, TrainConfig

NO_DROPOUT = LoraConfig(dropout=0.0)
WAYS: dict[str, dict[str, Any]] = {"auto": {}, "plain": {"speed": "plain"}, "bf16": {"model": {"quantization": "none"}}}


@pytest.fixture(scope="module")
def memory():
    """Given back to the card, for the processes of other tests."""
    yield
    give_back()


def give_back() -> None:
    import torch

    gc.collect()  # a trainer and its model know of each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# On a CPU tests/tasks/training/test_leaks.py has it; with a card all of `tests/gpu` is asked for.
pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture(scope="module", params=WAYS)
def trainer(request, inputs, memory, tmp_path_factory):
    """Ours, its adapter no longer one that does nothing."""
    import torch

    from tasks.data.dataset.folder import load
    from tasks.models.model import load_tokenizer
    from tasks.training.adapter import load_with_adapter
    from tasks.training.job import Job
    from tasks.training.trainer import make_trainer

    give_back()
    folder = tmp_path_factory.mktemp("job")
    config = TrainConfig.model_validate({"lora": NO_DROPOUT, **WAYS[request.param]})
    job = Job(config=config, train=inputs.train, heldout=None, base=inputs.base, work=folder, out=folder)
    made = make_trainer(job, load_with_adapter(job), load_tokenizer(inputs.base), load(inputs.train), None)
    torch.manual_seed(1)
    for name, weight in made.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return made


def rows_of(trainer: Any) -> list[dict[str, list[int]]]:
    """The rows of a packed sequence that holds several, each alone."""
    pack = next(each for each in trainer.train_dataset if len(each["seq_lengths"]) > 1)
    ends = [sum(pack["seq_lengths"][:at]) for at in range(len(pack["seq_lengths"]) + 1)]
    return [
        {name: pack[name][start:end] for name in ("input_ids", "labels")}
        for start, end in zip(ends, ends[1:], strict=False)
    ]


def loss(trainer: Any, rows: list[dict[str, list[int]]], of: int) -> Any:
    """The mean loss of row number `of`'s answer, packed with the others."""
    import torch

    pack = {
        "input_ids": sum((row["input_ids"] for row in rows), []),
        "labels": sum((row["labels"] if at == of else [-100] * len(row["labels"]) for at, row in enumerate(rows)), []),
        "seq_lengths": [len(row["input_ids"]) for row in rows],
    }
    trainer.model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        return trainer.compute_loss(trainer.model, trainer._prepare_inputs(trainer.data_collator([pack])))


def other(row: dict[str, list[int]]) -> dict[str, list[int]]:
    """As long, with other words in all places but the first."""
    ids = row["input_ids"]
    return {**row, "input_ids": [ids[0], *(10 + (word + 7) % 200 for word in ids[1:])]}


def test_changing_its_neighbours_leaves_a_rows_loss_as_it_is(trainer):
    import torch

    rows = rows_of(trainer)
    for of in range(len(rows)):
        changed = [row if at == of else other(row) for at, row in enumerate(rows)]
        assert torch.equal(loss(trainer, rows, of), loss(trainer, changed, of))
        own = [other(row) if at == of else row for at, row in enumerate(rows)]
        assert not torch.equal(loss(trainer, rows, of), loss(trainer, own, of))


def test_a_rows_loss_is_the_same_packed_and_alone(trainer):
    import torch

    tolerance = 1e-2 if trainer.model.device.type == "cuda" else 1e-5  # in 16 bits and in 32
    rows = rows_of(trainer)
    for of, row in enumerate(rows):
        torch.testing.assert_close(loss(trainer, rows, of), loss(trainer, [row], 0), rtol=tolerance, atol=tolerance)
