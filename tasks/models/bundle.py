"""A bundle: a folder that any server loads, with a manifest that names each of its files by SHA-256.

`MANIFEST.json` says what it is: base model, key, data, licences, refusal sentences, what a server must allow for. It is
written last, and covers itself: of a bundle that is intact no byte differs from what was written.
"""

import os
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ValidationError

from tasks.engine.code import not_in_key
from tasks.engine.errors import UserError
from tasks.engine.inputs import files_below, sha256_file, sha256_json
from tasks.models.model import weight_shapes

MANIFEST = "MANIFEST.json"
SIGNATURE = "model.sig"  # of model-signing, over all files but what stands beside them
BESIDE = (SIGNATURE, ".cache", ".git", ".gitattributes")  # the hub's and git's own
IN_CACHE = re.compile(r"(\.\./)+blobs/")  # where the links of the hub's cache lead, which is made of them
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's --max-lora-rank may be
ADAPTED = ("embed_tokens", "lm_head", "wte")  # no linear layers of the decoder: servers adapt them in some models only
MAY_START = ("gaussian", "eva", "orthogonal", "lora_ga", "mica")  # initializations that leave the base as it is


class _Facts(BaseModel, frozen=True, extra="forbid"):
    pass


class Base(_Facts):
    """The base model: a name of the hub with its `commit`, or a folder's name with its `digest`."""

    name: str
    commit: str | None = None
    digest: str | None = None  # SHA-256 of the names and SHA-256s of its files, as in keys
    license: str | None = None


class Obstacle(_Facts):
    """Why vLLM does not serve the adapter beside its base; it serves the merged model.

    `kind` is what stands in the way: rank (above 512), dora, modules_to_save, bias, initialization (one that changes
    the base), targets (layers that only some models have adapted); `value` is what it is.
    """

    kind: Literal["rank", "dora", "modules_to_save", "bias", "initialization", "targets"]
    value: str


class Scores(_Facts):
    """Mean negative log-likelihood per answer token of the held-out rows; the rest of the scores is in the report."""

    held_out_loss_before: float | None = None
    held_out_loss_after: float | None = None


class File(_Facts):
    size: int  # bytes
    sha256: str


class Manifest(_Facts):
    """What a bundle is. `digest` is that of all other fields."""

    schema_version: Literal[1] = 1
    kind: Literal["adapter", "merged"] = "adapter"
    key: str  # of the training
    base: Base
    quantization: str  # that the base was trained in: nf4, fp4, none
    data: str | None  # digest of the training rows
    license: str | None = None  # of the adapter
    refusal: dict[str, str]  # the sentence that says that the context holds no answer, by language; * is every other
    scores: Scores = Scores()
    rank: int | None = None  # the highest of any layer; None once merged
    max_lora_rank: int | None = None  # what vLLM is to be started with
    obstacles: tuple[Obstacle, ...] = ()
    files: dict[str, File] = {}
    digest: str = ""

    def content(self) -> bytes:
        fields = self.model_dump(mode="json", exclude={"digest"})
        return _written({**fields, "digest": sha256_json(fields)})


class Fault(NamedTuple):
    """A file of a bundle that is not as its manifest says."""

    file: str
    problem: Literal["changed", "missing", "not in the manifest", "a link", "not signed by this key"]


def _written(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest, with every file that is in the folder."""
    files = {
        name: File(size=path.stat().st_size, sha256=sha256_file(path))
        for name, path in files_below(folder).items()
        if name != MANIFEST
    }
    sealed = manifest.model_copy(update={"files": files})
    (folder / MANIFEST).write_bytes(sealed.content())
    return sealed


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest; None if it is missing, or a byte of it differs from what was written."""
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = Manifest.model_validate_json(content)
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
    return manifest if manifest.content() == content else None


@not_in_key("it checks what was written")
def faults(folder: Path) -> list[Fault]:
    """What changed, is missing, came in or leads elsewhere, by name; none if the bundle is intact. Reads every byte."""
    manifest = read_manifest(folder)
    if manifest is None:
        return [Fault(MANIFEST, "changed" if (folder / MANIFEST).exists() else "missing")]
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()}
    wrong: list[Fault] = []
    for name in sorted(there.keys() | manifest.files):
        path, wanted = there.get(name), manifest.files.get(name)
        if path is None:
            wrong.append(Fault(name, "missing"))
        elif name.split("/")[0] in BESIDE:
            continue
        elif path.is_symlink() and not IN_CACHE.match(os.readlink(path)):
            wrong.append(Fault(name, "a link"))
        elif wanted is None:
            wrong += [Fault(name, "not in the manifest")] if name != MANIFEST else []
        elif not path.is_file() or path.stat().st_size != wanted.size or sha256_file(path) != wanted.sha256:
            wrong.append(Fault(name, "changed"))
    return wrong


@not_in_key("it checks what was written")
def require_intact(folder: Path) -> Manifest:
    """The manifest of a bundle of which no byte changed; UserError that names the files that did."""
    if found := faults(folder):
        raise UserError(
            f"{folder} is not the bundle that was written: {named(found)}",
            "copy it again from where it was made; `reground retrain` exports an adapter again",
        )
    manifest = read_manifest(folder)
    assert manifest
    return manifest


@not_in_key("an error message")
def named(found: list[Fault]) -> str:
    """The first five, and how many more."""
    names = ", ".join(f"{each.file} ({each.problem})" for each in found[:5])
    return names + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def named_obstacles(found: "tuple[Obstacle, ...]") -> str:
    return ", ".join(f"{each.kind.replace('_', ' ')}: {each.value}" for each in found)


def rank_of(adapter: Path) -> int:
    """The highest rank of any layer of a LoRA adapter: as its weights have it, which PiSSA doubles, or its config."""
    config = orjson.loads((adapter / "adapter_config.json").read_bytes())
    weights = weight_shapes(adapter).items()
    own = [
        shape[0] for name, shape in weights if ".lora_A." in name and ".experts" not in name
    ]  # there: of all experts
    rank: int = max(config["r"], *(config.get("rank_pattern") or {}).values(), *own)
    return rank


def max_lora_rank(rank: int) -> int | None:
    """The least value of vLLM's --max-lora-rank that admits the rank; None if there is none."""
    return next((each for each in RANKS if each >= rank), None)


def obstacles(adapter: Path) -> tuple[Obstacle, ...]:
    """What keeps vLLM from serving a PEFT adapter beside its base. As of vLLM 0.32 (vllm/lora/peft_helper.py)."""
    config = orjson.loads((adapter / "adapter_config.json").read_bytes())
    start = config.get("init_lora_weights")
    layers = {name.partition(".lora_")[0].rpartition(".")[2] for name in weight_shapes(adapter)}
    found = {
        "rank": 0 if max_lora_rank(rank_of(adapter)) else rank_of(adapter),
        "dora": config.get("use_dora"),
        "modules_to_save": ", ".join(config.get("modules_to_save") or ()),
        "bias": config.get("lora_bias") or config.get("bias", "none") != "none",
        "initialization": start if isinstance(start, str) and start.lower() not in MAY_START else "",
        "targets": ", ".join(sorted(layers & set(ADAPTED))),
    }
    return tuple(Obstacle(kind=kind, value=str(value)) for kind, value in found.items() if value)
