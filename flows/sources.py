"""What a run starts from, as inputs with an identity: the triplets, the base model and the prompt template."""

import re
from pathlib import Path
from typing import NamedTuple

from flows.config import BaseConfig, PromptConfig
from tasks.errors import UserError
from tasks.readers import expand
from tasks.readers.source import Rows
from tasks.versioning.inputs import HubModel, Local
from tasks.versioning.source import ROOT
from tasks.versioning.store import SHORT, Artifact, Store

TEMPLATES = ROOT / "tasks/prompts/templates"
COMMIT = re.compile(r"[0-9a-f]{40}")


def triplets(source: str) -> Rows:
    """The JSONL files behind a path, a folder or a glob, in order of name."""
    return Rows(tuple(expand(source)))


def template(config: PromptConfig) -> Local:
    """A template by its name, or a .jinja file of the user's."""
    path = Path(config.template) if config.template.endswith(".jinja") else TEMPLATES / f"{config.template}.jinja"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in TEMPLATES.glob("*.jinja")))
        raise UserError(
            f"prompt.template: there is no template {config.template!r}", f"choose {known}, or give a .jinja file"
        )
    return Local(path)


class WarmStart(NamedTuple):
    """What a warm start goes on from: the champion's adapter, and the dataset that it was trained on."""

    adapter: Artifact
    dataset: Artifact


def champion(store: Store) -> WarmStart:
    """The champion of a store, for `train.start: champion`. UserError if there is none, or not whole any more."""
    alias = store.alias("champion")
    if not alias:
        raise UserError(
            f"train.start is champion, and {store.url} has none yet",
            "set train.start to base, or promote one: `reground promote`",
        )
    served = _whole(store, alias.step, alias.key)
    trained = _made_from(store, served, "training")
    return WarmStart(trained["adapter"], _made_from(store, trained, "train"))


def _made_from(store: Store, artifact: Artifact, name: str) -> Artifact:
    origin = artifact.record["inputs"].get(name)
    if not origin:
        raise UserError(
            f"train.start is champion, and {artifact.about} was not trained here", "set train.start to base"
        )
    found = _whole(store, origin["step"], origin["key"])
    return found[origin["part"]] if origin["part"] else found


def _whole(store: Store, step: str, key: str) -> Artifact:
    found = store.find(step, key)
    if not found:
        raise UserError(
            f"train.start is champion, and of it {step}/{key[:SHORT]} is {store.flaw(step, key)}",
            "restore it from a backup, `reground rollback`, or set train.start to base",
        )
    return found


def base_model(config: BaseConfig) -> Local | HubModel:
    """The base model by the content of its folder, or by its commit on the hub."""
    folder = Path(config.model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"base.model: the folder {folder} has no config.json, so it is no model", "point to the folder that has"
            )
        return Local(folder)
    if config.model.startswith((".", "/", "~")) or config.model.count("/") != 1:
        raise UserError(
            f"base.model: there is no folder {config.model!r}", "give a model folder, or a hub name such as org/model"
        )
    return HubModel(config.model, _commit(config))


def _commit(config: BaseConfig) -> str:
    """A revision as a commit: asked of the hub, else what an earlier download left."""
    if COMMIT.fullmatch(config.revision):
        return config.revision
    from httpx2 import HTTPError  # the hub's client lets its transport errors through
    from huggingface_hub import HfApi, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound, HfHubHTTPError

    try:
        found: str | None = HfApi().model_info(config.model, revision=config.revision, timeout=10).sha
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in (401, 403, 404):
            raise UserError(
                f"base.model: the hub has no {config.model!r} at {config.revision!r} that you may read",
                "check the spelling; for a gated model accept its licence on its page and run `hf auth login`",
            ) from None
        found = None
    except (HTTPError, OSError):
        found = None
    if found is None:
        try:
            cached = [r for r in scan_cache_dir().repos if r.repo_id == config.model]
            found = next((cached[0].refs[config.revision].commit_hash for _ in cached), None)
        except (CacheNotFound, KeyError):
            found = None
    if found is None:
        raise UserError(
            f"base.model: cannot reach the hub, and {config.model!r} is not on this machine",
            "connect once to download it, set base.model to a folder that has it, or name a commit in base.revision",
        )
    return found
