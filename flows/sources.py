"""What a run starts from, as inputs with an identity: rows, base model, prompt template, and the adapter in service."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from flows.config import BaseConfig, PromptSettings, Retrain
from flows.promotion.candidates import asked, roles, version
from flows.promotion.log import Log, Version, same
from flows.promotion.promotions import Promotions
from tasks.data.readers import expand
from tasks.data.shards import Rows
from tasks.engine.code.source import ROOT
from tasks.engine.errors import Unreachable, UserError, is_transient, status_of
from tasks.engine.inputs import HubModel, Input, Local, Output
from tasks.engine.record import Record
from tasks.engine.storage.store import Artifact, CorruptArtifact, Store
from tasks.prompts import Prompt, PromptConfig

PLAIN = ROOT / "tasks/prompts/templates/plain.jinja"
COMMIT = re.compile(r"[0-9a-f]{40}")
NO_ACCESS = (401, 403, 404)


def triplets(source: str) -> Rows:
    """The JSONL files behind a path, a folder or a glob, in order of name."""
    return Rows(tuple(expand(source)))


def template(config: PromptSettings) -> Local | None:
    """A chat template that takes the place of the base model's own; None where it is that."""
    if config.template == "chat":
        return None
    path = PLAIN if config.template == "plain" else Path(config.template)
    if path.suffix != ".jinja" or not path.is_file():
        raise UserError(
            f"prompt.template: there is no template {config.template!r}",
            "set it to chat (the base model's own), plain (for a base without one), or a .jinja file",
        )
    return Local(path)


def prompt_of(config: Retrain, base: Path) -> Prompt:
    """The prompt of a config, with the base model in this folder."""
    from tasks.models.model import load_tokenizer
    from tasks.prompts import Vocabulary

    own = template(config.prompt)
    vocabulary = Vocabulary.of(load_tokenizer(base), base)
    return Prompt.load(config.prompt.told, vocabulary, config.validation.refusal, own.path if own else None)


def base_model(config: BaseConfig) -> Local | HubModel:
    """The base model by the content of its folder, or by its commit on the hub."""
    folder = Path(config.model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"base.model: the folder {folder} has no config.json", "name a folder that holds a model")
        return Local(folder)
    if config.model.startswith((".", "/", "~")) or config.model.count("/") != 1:
        raise UserError(
            f"base.model: there is no folder {config.model!r}", "give a model folder, or a hub name such as org/model"
        )
    return HubModel(config.model, commit_of(config))


def commit_of(config: BaseConfig, what: str = "base.model") -> str:
    """The commit of a revision, by the hub, else by an earlier download."""
    if COMMIT.fullmatch(config.revision):
        return config.revision
    from httpx2 import HTTPError  # the hub's client lets its transport errors through
    from huggingface_hub import HfApi, constants

    kind: type[UserError] = UserError
    try:
        if commit := HfApi().model_info(config.model, revision=config.revision, timeout=10).sha:
            return commit
    except (HTTPError, OSError) as error:
        if status_of(error) in NO_ACCESS:
            raise UserError(
                f"{what}: the hub has no {config.model!r} at {config.revision!r} that you may read",
                "check the spelling; for a gated model accept its licence on its page and run `hf auth login`",
            ) from None
        kind = Unreachable if is_transient(error) else UserError
    cached = Path(constants.HF_HUB_CACHE, f"models--{config.model.replace('/', '--')}", "refs", config.revision)
    if not cached.is_file():
        raise kind(
            f"{what}: cannot reach the hub, and {config.model!r} is not in {Path.cwd()} or among its downloads",
            f"connect once to download it, or name a folder that has it as the {what}, or a commit as its revision",
        )
    return cached.read_text().strip()


class WarmStart(NamedTuple):
    """What a warm start goes on from: the champion's adapter, and the dataset that it was trained on."""

    adapter: Artifact
    dataset: Artifact


def champion(store: Store) -> WarmStart:
    """The champion of a store, for `train.start: champion`. UserError if there is none, or it is not intact."""
    alias = roles(store).get("champion")
    if not alias:
        raise UserError(
            f"train.start is champion, and {store.url} has none yet",
            "set train.start to base, or promote one: `reground promote`",
        )
    trained = _input_of(store, _intact(store, alias.step, alias.key), "training")
    return WarmStart(trained["adapter"], _input_of(store, trained, "train"))


def earlier_start(store: Store, warm: WarmStart) -> WarmStart | None:
    """What the training of an adapter went on from itself; None if from the base, or if it is not intact any more."""
    origin = warm.adapter.record.inputs.get("start")
    trained = store.find(origin.step, origin.key) if origin and origin.step and origin.key else None
    try:
        return WarmStart(trained["adapter"], _input_of(store, trained, "train")) if trained else None
    except CorruptArtifact:
        return None


def _input_of(store: Store, artifact: Artifact, name: str) -> Artifact:
    origin = artifact.record.inputs.get(name)
    if not (origin and origin.step and origin.key):
        raise UserError(
            f"train.start is champion, and {artifact.about} was not trained here", "set train.start to base"
        )
    found = _intact(store, origin.step, origin.key)
    return found[origin.part] if origin.part else found


def _intact(store: Store, step: str, key: str) -> Artifact:
    instead = "`reground rollback`, or set train.start to base"
    return store.require(step, key, purpose="train.start is champion, and of it ", instead=instead)


class Incumbent(NamedTuple):
    """The adapter in service, or the best so far: the inputs that it answers with, or why it cannot."""

    inputs: dict[str, Input | None] | None
    prompt: PromptConfig | None = None
    missing: str | None = None


def incumbent(store: Store, adapter: Output | None, base: Local | HubModel, template: Local | None) -> Incumbent | None:
    """The adapter that a new one is compared with, with the base model and the template that it was trained on.

    These are today's if nothing about them changed; else the base by its commit on the hub or in the folder that it
    was in, and the template by the copy that `export` keeps. None if nothing is in service. Raises UserError for a
    promotion log that is not intact: who is in service is then unknown, and nobody may be compared.
    """
    champion = _judged_by(store, adapter).state.champion
    return _answering(store, champion, "the champion", base, template) if champion else None


def best_so_far(
    store: Store, adapter: Output, base: Local | HubModel, template: Local | None, metrics: Iterable[str]
) -> dict[str, Incumbent]:
    """By metric the best champion so far, where that is not the champion itself; as `incumbent`."""
    log = _judged_by(store, adapter)
    best = {metric: found for metric in metrics if (found := log.best(metric)) and not log.is_champion(found)}
    return {metric: _answering(store, each, "the best so far,", base, template) for metric, each in best.items()}


def pinned(path: str | None) -> Local | None:
    """The file of questions that must hold. UserError if it is not there."""
    if path and not Path(path).is_file():
        raise UserError(
            f"gate.must_hold: there is no file {path}", "`reground pin` creates it, or leave the setting out"
        )
    return Local(Path(path)) if path else None


def tries(store: Store, adapter: Output, questions: Input) -> int:
    """How many other adapters were judged on these very questions since the champion last changed.

    By the promotion log and the records of its gates: a sweep's trials are compared on held-out rows and are none.
    Counted up to the adapter's own first entry, so that a rerun finds its gate as it was.
    """
    log = _judged_by(store, adapter)
    change = log.last_change()
    before: set[str] = set()
    for entry in log.entries[change.number if change else 0 :]:
        if isinstance(adapter, Artifact) and same(entry.version, version(adapter)):
            break
        gate = store.open(*entry.gate.split("/")) if entry.gate else None
        scores = gate.input_artifact("tuned_scores") if gate else None
        if scores and asked(scores).digest == questions.digest:
            before.add(entry.weights)
    return len(before)


def _judged_by(store: Store, adapter: Output | None) -> Log:
    return Promotions(store).before(adapter if isinstance(adapter, Artifact) else None)


def _answering(store: Store, version: Version, what: str, base: Local | HubModel, template: Local | None) -> Incumbent:
    try:
        served = Promotions(store).artifact(version)
    except CorruptArtifact as error:
        return Incumbent(None, missing=f"{what} cannot answer: {error.what}")
    record = served.record
    its_base = _base_of(record, base)
    if its_base is None:
        origin = record.inputs["base"]
        name = origin.about if origin else "of another machine"
        return Incumbent(
            None, missing=f"{what} {served.about} needs its base model {name}, which is not on this machine"
        )
    if "prompt" not in record.config:
        return Incumbent(None, missing=f"{what} {served.about} has a prompt of an older form than chats")
    its_template = template
    if (digest := record.payload["inputs"].get("template")) != (template.digest if template else None):
        copy = "adapter/prompt.jinja"
        its_template = Local(store.fetch(served, [copy]) / copy) if digest else None
    inputs: dict[str, Input | None] = {
        "base": its_base,
        "template": its_template,
        "adapter": adapter_of(store, served),
    }
    return Incumbent(inputs, PromptConfig.model_validate(record.config["prompt"]))


def _base_of(record: Record, base: Local | HubModel) -> Local | HubModel | None:
    """The base model of an exported adapter: today's, or by its commit, or the folder if that has not changed."""
    digest: str = record.payload["inputs"]["base"]
    if digest == base.digest:
        return base
    name, at, commit = digest.rpartition("@")
    if at and COMMIT.fullmatch(commit):
        return HubModel(name, commit)
    folder = Local(Path(record.config.get("base_folder") or record.config.get("base_model", "")))
    return folder if folder.path.is_dir() and folder.digest == digest else None


def adapter_of(store: Store, served: Artifact) -> Artifact:
    """Its adapter as `train` left it, whose key its earlier answers have; else the exported copy."""
    origin = served.record.inputs["training"]
    trained = store.find(origin.step, origin.key) if origin and origin.step and origin.key else None
    return (trained or served)["adapter"]
