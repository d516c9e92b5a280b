"""What a run starts from, as inputs with an identity: the triplets, the base model and the prompt template."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from flows.config import BaseConfig, PromptConfig
from flows.promotion.candidates import roles
from flows.promotion.promotions import Promotions
from tasks.data.readers import expand
from tasks.data.shards import Rows
from tasks.engine.code.source import ROOT
from tasks.engine.errors import Unreachable, UserError
from tasks.engine.inputs import HubModel, Input, Local
from tasks.engine.record import Record
from tasks.engine.retry import is_away
from tasks.engine.storage.store import Artifact, CorruptArtifact, Store

TEMPLATES = ROOT / "tasks/prompts/templates"
COMMIT = re.compile(r"[0-9a-f]{40}")


def triplets(source: str) -> Rows:
    """The JSONL files behind a path, a folder or a glob, in order of name."""
    return Rows(tuple(expand(source)))


def template(config: PromptConfig) -> Local:
    """A template by its name, or a .jinja file of the user's."""
    path = Path(config.template) if config.template.endswith(".jinja") else TEMPLATES / f"{config.template}.jinja"
    if not path.is_file() or (path.parent != TEMPLATES and not config.template.endswith(".jinja")):
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
    alias = roles(store).get("champion")
    if not alias:
        raise UserError(
            f"train.start is champion, and {store.url} has none yet",
            "set train.start to base, or promote one: `reground promote`",
        )
    served = _whole(store, alias.step, alias.key)
    trained = _made_from(store, served, "training")
    return WarmStart(trained["adapter"], _made_from(store, trained, "train"))


def went_on_from(store: Store, warm: WarmStart) -> WarmStart | None:
    """What the training of an adapter went on from itself; None if from the base, or if it is not whole any more."""
    origin = warm.adapter.record.inputs.get("start")
    trained = store.find(origin.step, origin.key) if origin and origin.step and origin.key else None
    try:
        return WarmStart(trained["adapter"], _made_from(store, trained, "train")) if trained else None
    except CorruptArtifact:
        return None


def _made_from(store: Store, artifact: Artifact, name: str) -> Artifact:
    origin = artifact.record.inputs.get(name)
    if not (origin and origin.step and origin.key):
        raise UserError(
            f"train.start is champion, and {artifact.about} was not trained here", "set train.start to base"
        )
    found = _whole(store, origin.step, origin.key)
    return found[origin.part] if origin.part else found


def _whole(store: Store, step: str, key: str) -> Artifact:
    instead = "`reground rollback`, or set train.start to base"
    return store.require(step, key, purpose="train.start is champion, and of it ", instead=instead)


class Incumbent(NamedTuple):
    """The adapter in service: the inputs by which it answers, or why it cannot."""

    how: dict[str, Input] | None
    missing: str | None = None


def incumbent(store: Store, adapter: Any, base: Local | HubModel, template: Local) -> Incumbent | None:
    """The adapter that a new one is to be compared with, with the base model and the template that it was trained on.

    These are today's if nothing about them changed, else what of them is to be had: the base by its commit on the hub
    or by the folder that it was in, the template by the copy that `export` keeps. None if nothing is in service. Raises
    UserError for a promotion log that is not whole: who is in service is then not known, and nobody may be compared.
    """
    try:
        served = Promotions(store).incumbent(adapter if isinstance(adapter, Artifact) else None)
    except CorruptArtifact as error:
        return Incumbent(None, f"the champion cannot answer: {error.what}")
    if served is None:
        return None
    record = served.record
    its_base = _base_of(record, base)
    if its_base is None:
        gone = record.inputs["base"]
        name = gone.about if gone else "of another machine"
        return Incumbent(None, f"the champion {served.about} needs its base model {name}, which is not to be had here")
    its_template = template
    if record.payload["inputs"]["template"] != template.digest:
        copy = "adapter/prompt.jinja"
        its_template = Local(store.fetch(served, [copy]) / copy)
    return Incumbent({"base": its_base, "template": its_template, "adapter": _adapter_of(store, served)})


def _base_of(record: Record, base: Local | HubModel) -> Local | HubModel | None:
    """The base model of an exported adapter: today's, or by its commit, or the folder, if that is as it was."""
    digest: str = record.payload["inputs"]["base"]
    if digest == base.digest:
        return base
    name, at, commit = digest.rpartition("@")
    if at and COMMIT.fullmatch(commit):
        return HubModel(name, commit)
    folder = Local(Path(record.config["base_model"]))
    return folder if folder.path.is_dir() and folder.digest == digest else None


def _adapter_of(store: Store, served: Artifact) -> Artifact:
    """Its adapter as `train` left it, by which its answers from then are found again; else the exported copy."""
    origin = served.record.inputs["training"]
    trained = store.find(origin.step, origin.key) if origin and origin.step and origin.key else None
    return (trained or served)["adapter"]


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

    kind: type[UserError] = UserError
    try:
        found: str | None = HfApi().model_info(config.model, revision=config.revision, timeout=10).sha
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in (401, 403, 404):
            raise UserError(
                f"base.model: the hub has no {config.model!r} at {config.revision!r} that you may read",
                "check the spelling; for a gated model accept its licence on its page and run `hf auth login`",
            ) from None
        found, kind = None, Unreachable if is_away(error) else UserError
    except (HTTPError, OSError) as error:
        found, kind = None, Unreachable if is_away(error) else UserError
    if found is None:
        try:
            cached = [r for r in scan_cache_dir().repos if r.repo_id == config.model]
            found = next((cached[0].refs[config.revision].commit_hash for _ in cached), None)
        except (CacheNotFound, KeyError):
            found = None
    if found is None:
        raise kind(
            f"base.model: cannot reach the hub, and {config.model!r} is not on this machine",
            "connect once to download it, set base.model to a folder that has it, or name a commit in base.revision",
        )
    return found
