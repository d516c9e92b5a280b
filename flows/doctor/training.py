"""What a training needs: the base model, the template, the data, and memory for the forms that `train.fit` may take."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

from flows.config import Retrain
from flows.doctor.findings import Finding, bad, gib, note, ok, ok_if
from flows.doctor.machine import cards
from flows.sources import base_model, template, triplets
from tasks.data.forms import RowFormat, parse
from tasks.data.parsing import Malformed, loads
from tasks.data.readers import read_lines
from tasks.engine.errors import UserError
from tasks.engine.inputs import HubModel
from tasks.models.model import weight_shapes
from tasks.training.fit import choose, options, step_of
from tasks.training.memory import CONTEXT, RESERVE, BaseShape, Step, main_memory, predict, shape_of

ANSWERS = 0.5  # of the tokens, at most, before the dataset exists


# The base model and the prompt template


def base_and_template(config: Retrain) -> Iterator[Finding]:
    try:
        yield _base(config)
    except UserError as error:
        yield bad("base model", error.what, error.remedy)
    own = template(config.prompt)
    yield ok("prompt template", own.about if own else "the base model's own chat template")


def _base(config: Retrain) -> Finding:
    from huggingface_hub import get_token

    base = base_model(config.base)
    folder = downloaded(base) if isinstance(base, HubModel) else base.path
    if folder is None:
        token = "with a token" if get_token() else "without a token (gated models want one: `hf auth login`)"
        return note("base model", f"{base.about} is on the hub, asked {token}", "the first run downloads it")
    shapes = weight_shapes(folder)
    if not shapes:
        pickles = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl"))
        also = f", but {pickles[0]}, which could run code" if pickles else ""
        remedy = "convert the weights with save_pretrained, or name a model that comes in safetensors"
        return bad("base model", f"{folder} holds no *.safetensors{also}", remedy)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return bad("base model", f"{folder} holds no tokenizer.json", "put the model's own tokenizer files there")
    weights = sum(map(prod, shapes.values()))
    return ok("base model", f"{base.about}: {weights / 1e6:,.1f} M weights in safetensors, with its tokenizer")


def downloaded(base: HubModel) -> Path | None:
    """The folder of a hub model on this machine; None if its weights are not, or not all, here."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(base.name, revision=base.commit, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    return folder if any(folder.glob("*.safetensors")) else None


# The triplets: whether the files exist, can be read, and begin with a valid row


def data(config: Retrain) -> Iterator[Finding]:
    form = config.validated.form
    yield _files("data.train", config.data.train, form)
    if config.data.evaluation:
        yield _files("data.evaluation", config.data.evaluation, form)
    else:
        yield note("data.evaluation", "none named: a share of the training documents is held back")


def _files(setting: str, source: str, form: RowFormat) -> Finding:
    try:
        paths = triplets(source).paths
        for path in paths:
            with path.open("rb") as file:
                file.read(1)
        line, row = next(read_lines(paths[0]))
        kind = parse(loads(row), form).form
    except UserError as error:
        return bad(setting, error.what, error.remedy)
    except OSError as error:
        return bad(setting, f"{source}: {error.strerror}", "let this user read it: chmod, or another user")
    except StopIteration:
        return bad(setting, f"{paths[0]}: only blank lines", "give at least one row")
    except Malformed as error:
        return bad(setting, f"{paths[0].name}:{line}: {error.value}", error.remedy)
    size = gib(sum(path.stat().st_size for path in paths))
    files = f"{len(paths)} file{'s' * (len(paths) > 1)}"
    return ok(setting, f"{files}, {size}; the first row is a {kind} row (`reground validate {source}` checks all)")


# Memory: whether a training fits, and which micro-batches, with checkpointing or without, would


class Room(NamedTuple):
    """Where a training would run, and how many bytes it may take there."""

    where: str
    cuda: bool
    size: float


class Form(NamedTuple):
    """A form of the effective batch: its memory in bytes, whether it fits, whether `auto` may take it, and does."""

    micro_batch: int
    accumulation: int
    checkpointing: bool
    weights: int
    adapter_optimizer: int
    activations: int
    head: int
    total: int
    open: bool
    fits: bool
    chosen: bool


def memory(config: Retrain) -> Iterator[Finding]:
    shape = shape_here(config)
    if shape is None:
        yield note("training needs", "unknown: the base model is not downloaded, or of an unknown architecture")
        return
    room = this_machine(config)
    checkpointing = config.train.gradient_checkpointing
    step = _step(config, shape, room)._replace(
        checkpointing=checkpointing == "on" or (checkpointing == "auto" and room.cuda)
    )
    need = predict(shape, config.train, step)
    parts = {"weights": need.weights, "adapter and optimizer": need.adapter + need.optimizer}
    parts |= {"activations": need.activations, "head": need.head}
    each = ", ".join(f"{name} {gib(size)}" for name, size in parts.items())
    value = f"{gib(need.total)} predicted, {gib(room.size)} available on {room.where} ({each})"
    if need.weights > room.size:
        yield bad("training needs", value, "take a smaller base model, 4 bits (quantization: nf4), or a larger card")
    else:
        remedy = "set train.fit to auto (`reground doctor --fit` shows what it would choose), or lower build.max_tokens"
        yield ok_if(need.total <= room.size, "training needs", value, remedy)


def shape_here(config: Retrain) -> BaseShape | None:
    """None if the base model is not on this machine, or is of an unknown architecture."""
    try:
        base = base_model(config.base)
    except UserError:  # a finding of the base model's own check
        return None
    folder: Path | None = downloaded(base) if isinstance(base, HubModel) else base.path
    return shape_of(folder) if folder else None


def this_machine(config: Retrain) -> Room:
    if cards() and config.train.model.device != "cpu":
        return card(cards()[0].name, cards()[0].free)
    return Room("this machine", False, main_memory()[1] * (1 - RESERVE))


def card(name: str, size: float) -> Room:
    return Room(name, True, size * (1 - RESERVE) - CONTEXT)


def _step(config: Retrain, shape: BaseShape, room: Room) -> Step:
    """A step of full batches: the dataset, which would tell how full they are, may not exist yet."""
    longest = config.build.max_tokens
    return step_of(config.train, shape, longest, longest, ANSWERS, cuda=room.cuda)


def forms(config: Retrain, room: Room) -> list[Form]:
    """Every form of the effective batch that `train.fit: auto` chooses from.

    Raises UserError if the base model is not on this machine or of an unknown architecture.
    """
    shape = shape_here(config)
    if shape is None:
        raise UserError(
            f"the memory that {config.base.model} takes is unknown",
            "download it first, and use an architecture with hidden_size, intermediate_size and so on in config.json",
        )
    found = options(shape, config.train, _step(config, shape, room))
    chosen = choose(found, room.size)
    return [
        Form(
            *each.fit,
            each.checkpointing,
            each.need.weights,
            each.need.adapter + each.need.optimizer,
            each.need.activations,
            each.need.head,
            each.need.total,
            each.allowed,
            fits=each.need.total <= room.size,
            chosen=each == chosen,
        )
        for each in found
    ]
