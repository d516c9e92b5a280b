"""Rows that begin alike, behind one copy of their beginning: fewer tokens, the same loss and gradient."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from tasks.data.dataset.folder import IGNORED, Lengths, alike, finish, load, same_beginnings, tokens_schema
from tasks.data.dataset.packing import pack_apart
from tasks.training.selfcheck import Way, unshared
from tests.tasks.tiny import toy_base
from tests.tasks.training.jobs import WHOLE, job_of, recipe, trainer_of

HEADS = [list(range(20, 36)), list(range(60, 80))]  # what three and two rows begin with
ROWS = [
    [*HEADS[0], 7, 8, 10, 11],
    [*HEADS[1], 9, 12],
    [*HEADS[0], 6, 13],
    [*range(100, 112), 10],
    [*HEADS[0], 7, 9, 10],
    [*HEADS[1], 6, 7, 13, 13],
]
PROMPTS = [18, 21, 17, 12, 18, 22]


def dataset(folder, *, shared):
    folder.mkdir(parents=True)
    with pa.ipc.new_stream(str(folder / "00000.arrow"), tokens_schema()) as stream:
        columns = [pa.array(ROWS, pa.list_(pa.int32())), pa.array(PROMPTS, pa.int32())]
        stream.write_table(pa.table(columns, schema=tokens_schema()))
    lengths = Lengths.of(folder)
    groups = same_beginnings(folder)
    packed = pack_apart(lengths.wholes, np.zeros(len(ROWS), bool), 60, packing=True, seed=0, groups=groups)
    finish(folder, lengths, packed, shared=shared)
    return folder


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharing")
    inputs = {name: dataset(folder / name, shared=True) for name in ("train", "heldout")}
    return trainer_of(job_of(recipe(**WHOLE), inputs | {"base": toy_base(folder / "base")}, folder))


def test_rows_of_one_beginning_stand_together_and_none_is_lost(tmp_path):
    plain, shared = (list(load(dataset(tmp_path / str(on), shared=on))) for on in (False, True))
    assert sorted(map(len, same_beginnings(tmp_path / "True"))) == [1, 2, 3]
    assert sum(len(each["seq_lengths"]) for each in plain) == len(ROWS)
    assert [sum(each["seq_lengths"]) for each in shared] == [len(each["input_ids"]) for each in shared]
    tokens = sum(map(len, ROWS))
    assert sum(len(each["input_ids"]) for each in plain) == tokens
    assert sum(len(each["input_ids"]) for each in shared) == tokens - 2 * len(HEADS[0]) - len(HEADS[1])
    for each, other in zip(plain, shared, strict=True):
        answers = [sorted(set(found["labels"]) - {IGNORED}) for found in (each, other)]
        assert answers[0] == answers[1]


def test_a_beginning_is_at_least_half_of_each_prompt_and_never_all_of_it():
    rows = [np.array(row) for row in ([1, 2, 3, 4], [1, 2, 3, 9], [1, 2, 3], [1, 7, 7, 7], [1, 7, 7, 7])]
    assert list(alike(rows, [4, 4, 3, 4, 4])) == [([0, 1, 2], 2), ([3, 4], 3)]


def test_the_loss_and_the_gradient_are_those_of_whole_rows(trainer):
    assert trainer.way == Way.of(trainer.model.get_base_model()) and trainer.way.attention == "by_row"
    batch = trainer.data_collator(list(trainer.train_dataset))
    whole = unshared(batch)
    assert whole["cu_seq_lens_q"].diff().sum() == sum(map(len, ROWS)) > batch["input_ids"].numel()
    weights = [each for each in trainer.model.parameters() if each.requires_grad]
    found = []
    for each in (batch, whole):
        torch.manual_seed(0)
        loss = trainer.compute_loss(trainer.model, dict(each))
        found.append((loss, torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-6, rtol=1e-4)
    assert trainer.train().training_loss > 0


def test_another_attention_sees_whole_rows(trainer):
    batch = trainer.data_collator(list(trainer.train_dataset))
    way = Way("sdpa", answers_only=False)
    assert "behind" not in way.inputs(batch) and way.inputs(batch)["input_ids"].numel() == sum(map(len, ROWS))
    padded = Way("sdpa", answers_only=False, packed=False).inputs(batch)
    assert padded["input_ids"].shape == (len(ROWS), max(map(len, ROWS)))
