"""An adapter from anywhere, to be evaluated: a PEFT folder, a name on the hub, or an artifact of the store."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import orjson

from flows.config import BaseConfig, Retrain
from flows.promotion.candidates import find
from flows.sources import adapter_of, base_model, commit_of, incumbent, template
from tasks.engine import Config, Step
from tasks.engine.errors import UserError
from tasks.engine.inputs import HubModel, Input, Local
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.plan import Planned, plan_step
from tasks.engine.storage.store import Artifact, Store
from tasks.models.bundle import MANIFEST, read_manifest, require_intact
from tasks.models.model import load_tokenizer, require_lora
from tasks.prompts import PromptConfig

CHAMPION = "champion"


class Candidate(NamedTuple):
    """What an adapter answers with, the prompt of its bundle (None: it has none), and what to call it."""

    inputs: dict[str, Input | None]
    prompt: PromptConfig | None
    about: str
    in_service: bool = False


def candidate(config: Retrain, name: str) -> Candidate:
    """The adapter that a person names, checked: it is LoRA, of the config's base model, and of its tokenizer.

    UserError that says what is missing or differs.
    """
    base = base_model(config.base)
    if name == CHAMPION:
        served = incumbent(config.open_store(), None, base, template(config.prompt))
        if not served or not served.inputs:
            missing = served.missing if served else f"the project {config.project!r} has no champion yet"
            raise UserError(f"{missing}", "leave --against out, or name an adapter by key or folder")
        return Candidate(served.inputs, served.prompt, find(config.open_store(), name).about, True)
    adapter, folder, about = _located(config.open_store(), name)
    _check(folder, about, base)
    own = folder / "prompt.json"  # of a bundle
    if not own.is_file():
        return Candidate({"base": base, "template": template(config.prompt), "adapter": adapter}, None, about)
    said = orjson.loads(own.read_bytes())
    prompt = PromptConfig(**{each: said[each] for each in PromptConfig.model_fields if each in said})
    copy = folder / "prompt.jinja"
    return Candidate(
        {"base": base, "template": Local(copy) if copy.is_file() else None, "adapter": adapter}, prompt, about
    )


def _located(store: Store, name: str) -> tuple[Input, Path, str]:
    """The adapter as an input, the folder to look into, and what to call it."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "adapter_config.json").is_file():
            near = next(iter(sorted(folder.glob("*/adapter_config.json"))), None)
            remedy = f"did you mean {near.parent}?" if near else "name the folder of a PEFT adapter"
            raise UserError(f"{folder} holds no adapter_config.json", remedy)
        local = Local(folder)
        return local, folder, f"{folder.resolve().name} ({local.digest[:8]})"
    if name.count("/") == 1 and not name.startswith((".", "/", "~", "export/", "train/")):
        model, _, revision = name.partition("@")
        hub = HubModel(model, commit_of(BaseConfig(model=model, revision=revision or "main"), "adapter"))
        return hub, hub.local(), hub.about
    if "/" in name and not name.startswith(("export/", "train/")):
        raise UserError(f"there is no folder {name}", "name a PEFT folder, org/name on the hub, or a key of the store")
    found = find(store, name)
    if found.step not in ("export", "train"):
        raise UserError(f"{found.about} is no adapter", "give the key of a train or export artifact, or a folder")
    return adapter_of(store, found), found.folder / "adapter", found.about


def _check(folder: Path, about: str, base: Local | HubModel) -> None:
    require_lora(folder)
    if (folder / MANIFEST).is_file():
        require_intact(folder)
    if (named := _other_base(folder, base)) is not None:
        raise UserError(
            f"{about} was trained on {named}, and base.model is {base.about}",
            f"evaluate it with `-s base.model={named}`; if they are one model, say so in its adapter_config.json",
        )
    if not (folder / "tokenizer.json").is_file():
        return
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)
    ours = load_tokenizer(base.local()).get_vocab()
    if differ := sorted(dict(theirs.items() ^ ours.items())):
        some = ", ".join(map(repr, differ[:3]))
        raise UserError(
            f"{about} has another tokenizer than {base.about}: {len(differ):,} tokens differ, such as {some}",
            "set base.model to the model that it was trained on, with these tokens",
        )


def _other_base(folder: Path, base: Local | HubModel) -> str | None:
    """The base model that the adapter names, if that is not this one."""
    named = orjson.loads((folder / "adapter_config.json").read_bytes()).get("base_model_name_or_path")
    known, manifest = base.name if isinstance(base, HubModel) else base.path.resolve().name, read_manifest(folder)
    if manifest and base.digest in (manifest.base.digest, f"{manifest.base.name}@{manifest.base.commit}"):
        return None
    if not named or Path(named).name.casefold() == Path(known).name.casefold():
        return None
    return None if Path(named).is_dir() and Local(Path(named)).digest == base.digest else str(named)


@dataclass
class Direct:
    """Called by the pipeline; runs each step that is stale here and now, without Prefect."""

    store: Store
    shown: Callable[[Planned, bool], None]
    made: dict[str, Artifact] = field(default_factory=dict)

    def __call__(self, step: Step, config: Config, *, label: str = "", **inputs: Input | None) -> Artifact:
        planned = plan_step(Request(step, config, inputs, label or step.name), self.store)
        self.shown(planned, False)
        made, _ = make(planned.request, self.store, why=planned.why, before=planned.before)
        artifact = self.made[planned.label] = replace(made, parts=step.parts)
        self.shown(replace(planned, artifact=artifact, seconds=artifact.record.seconds), True)
        return artifact
