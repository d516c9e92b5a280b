"""Packed rows do not see each other, and a row's loss is the same packed and alone: each attention that is here.

auto is attention by row.
"""

import pytest
import torch

from tasks.models.model import ModelConfig
from tasks.training.adapter import load_with_adapter
from tasks.training.config import LoraConfig, TrainConfig
from tasks.training.job import Job
from tasks.training.trainer import make_trainer
from tests.tasks.tiny import packed, toy_base

ANSWER = 6  # tokens of the prompt before it
FIRST, SECOND, OTHER = ([7 + (step * at) % 200 for at in range(20)] for step in (3, 5, 11))
EAGER = pytest.param("eager", marks=[pytest.mark.slow, pytest.mark.nightly])
FLASH = pytest.mark.skipif(not torch.cuda.is_available(), reason="FlashAttention needs a GPU")


@pytest.fixture(scope="module", params=["auto", "sdpa", EAGER, pytest.param("flash_attention_2", marks=FLASH)])
def trainer(request, tmp_path_factory):
    from tasks.data.dataset.folder import load
    from tasks.models.model import load_tokenizer

    folder = tmp_path_factory.mktemp(request.param)
    base, data = toy_base(folder / "base"), packed(folder / "train", rows=2)
    config = TrainConfig(model=ModelConfig(attention=request.param), lora=LoraConfig(dropout=0.0))
    job = Job(config=config, train=data, heldout=None, base=base, work=folder, out=folder)
    made = make_trainer(job, load_with_adapter(job), load_tokenizer(base), load(data), None)
    torch.manual_seed(1)
    for name, weight in made.model.named_parameters():
        if "lora_B" in name:  # zeros at first: the adapter would do nothing
            torch.nn.init.normal_(weight, std=0.1)
    return made


def loss(trainer, *rows: list[int], of: int) -> torch.Tensor:
    """The mean loss of row number `of`'s answer, in one sequence with the others."""
    masked = [[-100] * len(row) for row in rows]
    masked[of][ANSWER:] = rows[of][ANSWER:]
    sequence = {"input_ids": sum(rows, []), "labels": sum(masked, []), "seq_lengths": [len(row) for row in rows]}
    return trainer.compute_loss(trainer.model, trainer._prepare_inputs(trainer.data_collator([sequence])))


def test_changing_a_neighbour_leaves_the_loss_of_a_row_as_it_is(trainer):
    for of, (before, after) in {0: ((FIRST, SECOND), (FIRST, OTHER)), 1: ((SECOND, FIRST), (OTHER, FIRST))}.items():
        assert torch.equal(loss(trainer, *before, of=of), loss(trainer, *after, of=of))
    assert not torch.equal(loss(trainer, FIRST, SECOND, of=1), loss(trainer, FIRST, OTHER, of=1))


def test_a_row_has_the_same_loss_and_gradient_packed_and_alone(trainer):
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    for of, rows in {0: (FIRST, SECOND), 1: (SECOND, FIRST)}.items():
        beside, alone = loss(trainer, *rows, of=of), loss(trainer, FIRST, of=0)
        torch.testing.assert_close(beside, alone)
        for one, other in zip(torch.autograd.grad(beside, weights), torch.autograd.grad(alone, weights), strict=True):
            torch.testing.assert_close(one, other)


def test_loss_and_gradient_are_those_of_all_logits(trainer):
    """Ours gathers the answers' positions in the last layer and before the head; transformers makes every logit."""
    ids = torch.tensor([FIRST], device=trainer.model.device)
    labels = ids.clone()
    labels[:, :ANSWER] = -100
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    whole, ours = trainer.model(input_ids=ids, labels=labels).loss, loss(trainer, FIRST, of=0)
    torch.testing.assert_close(ours, whole)
    for one, other in zip(torch.autograd.grad(ours, weights), torch.autograd.grad(whole, weights), strict=True):
        torch.testing.assert_close(one, other)


def test_a_sequence_without_an_answer_costs_nothing_and_can_be_differentiated(trainer):
    sequence = {"input_ids": FIRST, "labels": [-100] * len(FIRST), "seq_lengths": [len(FIRST)]}
    nothing = trainer.compute_loss(trainer.model, trainer._prepare_inputs(trainer.data_collator([sequence])))
    nothing.backward()
    assert nothing.item() == 0
    trainer.model.zero_grad()
