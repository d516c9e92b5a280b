"""A judge's model in a folder on this machine, and what it can read at a time."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, PositiveInt

from tasks.engine import RUNTIME, Config, Text
from tasks.engine.code.cache import code_of
from tasks.engine.errors import UserError
from tasks.engine.inputs import Local
from tasks.engine.key import identity, installed
from tasks.models.trust import naming, trusted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LIBRARIES = ("tokenizers", "torch", "transformers")
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spm.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json")
UNBOUNDED = 100_000  # a tokenizer without a length of its own names 10^30


class LocalModelConfig(Config):
    """A model that runs here; without a folder it is off."""

    model: Annotated[str | None, RUNTIME] = Field(
        None, description="The model's folder; without one this judge is off. Its content counts, not its place."
    )
    window: PositiveInt | None = Field(None, description="Tokens read at a time; without it what the model can take.")
    # Not RUNTIME: a text's numbers differ in their last bits with the batch that it is in.
    batch_size: PositiveInt = Field(32, description="Texts that go through the model together.")
    trust_remote_code: Text | None = Field(
        None, description="Run the Python code that comes with this model: its SHA-256, as the refusal tells it."
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], RUNTIME] = Field(
        "auto", description="'auto': a GPU if there is one."
    )


class Loaded(NamedTuple):
    tokenizer: "PreTrainedTokenizerBase"
    model: Any
    window: int  # tokens, special ones too


def folder_of(setting: str, config: LocalModelConfig) -> Local | None:
    """The judge's folder as an input of the step, None if it is off; `setting` is its name for people."""
    if config.model is None:
        return None
    folder = Path(config.model).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(f"{setting}: {folder} holds no config.json", "name the folder of a model that is here already")
    return Local(folder)


def recipe(measure: Callable[..., Any], folder: Path, config: LocalModelConfig) -> dict[str, Any]:
    """All that shapes what a local model says of a case: code, settings, the folder's content, libraries."""
    return {
        "code": code_of(measure.__module__, measure.__name__),
        "config": identity(config),
        "model": Local(folder).digest,
        "libraries": installed(("pystemmer", *LIBRARIES)),
    }


def load(folder: Path, config: LocalModelConfig, *, kind: str, unused: Sequence[str] = ()) -> Loaded:
    """The model in `folder` in float32, in evaluation mode; `kind` is transformers' class, such as AutoModel.

    Raises UserError for missing files, and for weights that are not there, unless their names begin as `unused` do:
    transformers would go on with random ones.
    """
    import transformers
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise UserError(f"{folder} holds no tokenizer", "put the model's own tokenizer files there")
    how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trusted(folder, config.trust_remote_code)}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **how)
        loaded = getattr(transformers, kind).from_pretrained(
            str(folder), **how, use_safetensors=True, dtype=_float32(), output_loading_info=True
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        if "trust_remote_code" in str(error):
            raise UserError(f"{folder} is made by code of its own", f"read it and {naming(folder)}") from None
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{folder} cannot be loaded: {first}", "a whole model with *.safetensors is needed") from error
    model, found = loaded
    if missing := sorted(name for name in found["missing_keys"] if not name.startswith(tuple(unused))):
        raise UserError(
            f"{folder}: {len(missing)} weights are not in its files, such as {missing[0]}",
            "name a model that was trained for this; a mere language model has no such part",
        )
    return Loaded(tokenizer, model.eval().to(_device(config)), _window(folder, tokenizer, model.config, config))


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Positions in batches of like length, the longest first, so that little is padding."""
    order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _float32() -> Any:
    import torch

    return torch.float32


def _device(config: LocalModelConfig) -> str:
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "a judge's device is cuda, and this machine has no CUDA device that torch can use",
            "set it to auto, or run on a GPU machine with a CUDA build of torch",
        )
    return "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"


def _window(folder: Path, tokenizer: Any, model: Any, config: LocalModelConfig) -> int:
    """The least of what tokenizer, positions and, of an embedding model, its training allow."""
    import orjson

    limits = [tokenizer.model_max_length]
    if positions := getattr(model, "max_position_embeddings", None):
        # RoBERTa counts positions from behind the padding token's number.
        counts_on = "roberta" in model.model_type or model.model_type == "camembert"
        limits.append(positions - (1 + (getattr(model, "pad_token_id", None) or 0) if counts_on else 0))
    note = folder / "sentence_bert_config.json"
    if note.is_file() and (trained := orjson.loads(note.read_bytes()).get("max_seq_length")):
        limits.append(trained)
    most = min((limit for limit in limits if limit and limit < UNBOUNDED), default=512)
    if config.window and config.window > most:
        raise UserError(f"{folder} reads {most} tokens at a time, and window is {config.window}", "lower window")
    return config.window or most
