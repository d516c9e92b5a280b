"""Whether a training fits into memory, and which of its forms would: micro-batch and checkpointing by card."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flows.config import Retrain
from flows.doctor.finding import Finding, bad, gib, note, ok
from flows.doctor.gpu import cards
from flows.doctor.hub import downloaded
from flows.sources import base_model
from tasks.engine.errors import UserError
from tasks.engine.inputs import HubModel
from tasks.training.fit import Fit, Option, choose, options, step_of
from tasks.training.memory import CONTEXT, RESERVE, BaseShape, Need, main_memory, predict, shape_of

SIZES = (12, 16, 24, 48, 80)  # GiB of the cards that people have
ANSWERS = 0.5  # of the tokens, at most, before the dataset is there to tell


class Room(NamedTuple):
    """Where a training would run, and how many bytes it may take there."""

    where: str
    cuda: bool
    room: float


def check(config: Retrain) -> Iterator[Finding]:
    shape = shape_here(config)
    if shape is None:
        yield note("training needs", "not known before the base model is here, or of this architecture")
        return
    at = here(config)
    need = as_given(config, shape, cuda=at.cuda)
    parts = {"weights": need.weights, "adapter and optimizer": need.adapter + need.optimizer}
    parts |= {"activations": need.activations, "head": need.head}
    each = ", ".join(f"{name} {gib(size)}" for name, size in parts.items())
    told = f"{gib(need.total)} predicted, {gib(at.room)} to be had on {at.where} ({each})"
    smaller = "set train.fit to auto (`reground doctor --fit` shows what it would choose), or lower build.max_tokens"
    if need.weights > at.room:
        yield bad("training needs", told, "take a smaller base model, 4 bits (quantization: nf4), or a larger card")
    elif need.total > at.room:
        yield note("training needs", told, smaller)
    else:
        yield ok("training needs", told)


def shape_here(config: Retrain) -> BaseShape | None:
    """None if the base model is not here, which is told where that is looked at, or is of an unknown architecture."""
    try:
        base = base_model(config.base)
    except UserError:
        return None
    folder: Path | None = downloaded(base) if isinstance(base, HubModel) else base.path
    return shape_of(folder) if folder else None


def here(config: Retrain) -> Room:
    if cards() and config.train.model.device != "cpu":
        return card(cards()[0].name, cards()[0].free)
    return Room("this machine", False, main_memory()[1] * (1 - RESERVE))


def card(name: str, size: float) -> Room:
    return Room(name, True, size * (1 - RESERVE) - CONTEXT)


def as_given(config: Retrain, shape: BaseShape, *, cuda: bool) -> Need:
    """By the config, of batches that are full."""
    step = step_of(config.train, shape, config.build.max_tokens, config.build.max_tokens, ANSWERS, cuda=cuda)
    way = config.train.gradient_checkpointing
    return predict(shape, config.train, step._replace(checkpointing=way == "on" or (way == "auto" and cuda)))


class Table(NamedTuple):
    rows: list[Option]
    chosen: Option | None  # what `auto` would take in `room`; None if nothing fits
    given: Fit
    room: Room


def table(config: Retrain, room: Room) -> Table:
    """Every form of the effective batch that `auto` may choose from. UserError where the model cannot tell."""
    shape = shape_here(config)
    if shape is None:
        raise UserError(
            f"what {config.base.model} would take cannot be told",
            "download it first, and use an architecture with hidden_size, intermediate_size and so on in config.json",
        )
    step = step_of(config.train, shape, config.build.max_tokens, config.build.max_tokens, ANSWERS, cuda=room.cuda)
    found = options(shape, config.train, step)
    return Table(found, choose(found, room.room), Fit(config.train.batch_size, config.train.accumulation), room)
