"""The base model and the prompt template: there, readable, in safetensors; or to be had from the hub."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

from flows.config import Retrain
from flows.doctor.finding import Finding, bad, note, ok
from flows.sources import base_model, template
from tasks.engine.errors import UserError
from tasks.engine.inputs import HubModel
from tasks.models.model import weight_shapes


def check(config: Retrain) -> Iterator[Finding]:
    try:
        yield from _base(config)
    except UserError as error:
        yield bad("base model", error.what, error.remedy)
    yield ok("prompt template", template(config.prompt).about)


def _base(config: Retrain) -> Iterator[Finding]:
    base = base_model(config.base)
    folder = downloaded(base) if isinstance(base, HubModel) else base.path
    if folder is None:
        token = "with a token" if _has_token() else "without a token (gated models want one: `hf auth login`)"
        yield note("base model", f"{base.about} is on the hub, asked {token}", "the first run downloads it")
        return
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl"))
    shapes = weight_shapes(folder)
    if not shapes:
        also = f", but {pickles[0]}, which could run code" if pickles else ""
        remedy = "convert the weights with save_pretrained, or name a model that comes in safetensors"
        yield bad("base model", f"{folder} holds no *.safetensors{also}", remedy)
    elif not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        yield bad("base model", f"{folder} holds no tokenizer.json", "put the model's own tokenizer files there")
    else:
        weights = sum(map(prod, shapes.values()))
        yield ok("base model", f"{base.about}: {weights / 1e6:,.1f} M weights in safetensors, with its tokenizer")


def downloaded(base: HubModel) -> Path | None:
    """The folder of a model of the hub on this machine; None if its weights are not, or not all, here."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(base.name, revision=base.commit, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None
