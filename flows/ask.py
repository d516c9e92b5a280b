"""One question to the base model and to the tuned one, as they were trained and evaluated."""

from flows.config import Retrain
from flows.pipeline import planned
from flows.promotion.candidates import find
from flows.sources import base_model, template
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Artifact, Store


def answers(config: Retrain, question: str, passages: list[str], key: str | None) -> tuple[str, str, str]:
    """Returns the base's answer, the tuned model's, and which adapter gave it."""
    from tasks.answer import generate
    from tasks.models.model import attach_adapter, load_base, load_tokenizer
    from tasks.prompts import Prompt

    adapter = _adapter(config, key)
    folder = base_model(config.base).local()
    prompt = Prompt.load(template(config.prompt).path, load_tokenizer(folder), config.validation.refusal)
    asked = [(passages, question)]
    length = config.answer.max_new_tokens
    model = load_base(folder, config.answer.model)
    (base,) = generate(model, prompt, asked, max_new_tokens=length)
    tuned_model = attach_adapter(model, adapter.folder / "adapter")
    (tuned,) = generate(tuned_model, prompt, asked, max_new_tokens=length)
    return base.text, tuned.text, adapter.about


def _adapter(config: Retrain, key: str | None) -> Artifact:
    """The adapter named by `key`, else the one that this config makes, else the newest."""
    store = config.open_store()
    if key:
        found = find(store, key)
    else:
        planner, _ = planned(config)
        own = [step.artifact for step in planner.steps if step.label == "export" and step.artifact]
        found = own[0] if own else _newest(store)
    if found.step not in ("export", "train"):
        raise UserError(f"{found.about} is no adapter", "give the key of a train or export artifact")
    return found


def _newest(store: Store) -> Artifact:
    adapters = store.all("export")
    if not adapters:
        raise UserError(f"there is no adapter in {store.url} yet", "train one with `reground retrain`")
    return adapters[-1]
