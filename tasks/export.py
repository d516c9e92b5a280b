"""export: the adapter as a bundle, a folder that any server loads."""

import json
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field, PositiveInt

from tasks.data.triplets import refusal_of
from tasks.engine import NOT_A_PATH, RUNTIME, Config, Text, progress, step
from tasks.engine.record import Record
from tasks.models import bundle
from tasks.prompts import Asked, Prompt, PromptConfig, Vocabulary
from tasks.reporting.rendering import render, templates
from tasks.text import LANGUAGE_FILES

EXAMPLE = Asked(["The oil may be 60 °C warm.", "The pump is blue."], "How warm may the oil be?")


class ExportSettings(Config):
    """How the adapter is given on."""

    base: Annotated[str | None, NOT_A_PATH] = Field(
        None,
        description="What servers know the base model by: a hub name, or a path on them. Without it base.model's hub "
        "name, or the name of its folder.",
    )
    license: Text | None = Field(
        None, description="The adapter's licence, as the hub spells it, such as apache-2.0; without it the base's."
    )


class ExportConfig(ExportSettings):
    """Filled in by the flow: the base model by name, and what was asked of its answers."""

    base: Text = "base"
    commit: Text | None = None  # of a base from the hub
    base_folder: Annotated[str, RUNTIME] = ""  # where the base was; the champion's is looked for there
    max_new_tokens: PositiveInt = 64
    prompt: PromptConfig = PromptConfig()


@step(
    libraries=("jinja2", "pyarrow", "tokenizers", "transformers"),
    resources=(*templates("export"), *LANGUAGE_FILES),
    parts=("adapter",),
)
def export(
    config: ExportConfig, *, training: Path, rows: Path, base: Path, template: Path | None = None, out: Path
) -> None:
    """Gather what serving needs from the `training` artifact and the `base` model's tokenizer.

    Writes out/adapter/, the bundle: adapter_model.safetensors and adapter_config.json as PEFT reads them, naming the
    base model as servers know it; tokenizer files, whose chat template renders the prompts of training;
    generation_config.json (greedy, the tokens that end an answer, the length that was evaluated); prompt.json, what the
    turns say; prompt.jinja, the `template` if there is one; README.md, the model card; MANIFEST.json. The `rows` tell
    the refusal sentence. Says what keeps a server from serving the adapter as it is.
    """
    import shutil

    from tasks.models.model import load_tokenizer

    folder = out / "adapter"
    shutil.copytree(training / "adapter", folder)
    adapter = orjson.loads((folder / "adapter_config.json").read_bytes())
    adapter |= {"base_model_name_or_path": config.base, "revision": config.commit}
    (folder / "adapter_config.json").write_bytes(orjson.dumps(adapter, option=orjson.OPT_INDENT_2))
    tokenizer, refusal = load_tokenizer(base), refusal_of(rows)
    prompt = Prompt.load(config.prompt, Vocabulary.of(tokenizer, base), refusal, template)
    tokenizer.chat_template = prompt.chat_template
    tokenizer.save_pretrained(str(folder))
    said = config.prompt.model_dump(mode="json") | {"refusal": refusal}
    (folder / "prompt.json").write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2))
    if template:
        shutil.copyfile(template, folder / "prompt.jinja")
    generation = {
        "do_sample": False,
        "temperature": 0.0,  # servers read no do_sample, and would sample at 1
        "eos_token_id": list(prompt.stop_ids),
        "pad_token_id": tokenizer.pad_token_id,
        "max_new_tokens": config.max_new_tokens,
    }
    (folder / "generation_config.json").write_bytes(orjson.dumps(generation, option=orjson.OPT_INDENT_2))
    record = Record.model_validate_json((training / "record.json").read_bytes())
    manifest = _manifest(config, training, record, base, folder, refusal)
    (folder / "README.md").write_text(_card(config, manifest, record, training, prompt), encoding="utf-8")
    bundle.seal(folder, manifest)
    for obstacle in manifest.obstacles:
        progress.say(
            f"export: vLLM does not serve this adapter beside its base ({obstacle.kind.replace('_', ' ')}: "
            f"{obstacle.value}); `reground merge` makes a model that it serves"
        )


def _manifest(
    config: ExportConfig, training: Path, record: Record, base: Path, folder: Path, refusal: str | None
) -> bundle.Manifest:
    from tasks.text.language import LANGUAGES, refusal_sentence

    report = orjson.loads((training / "report.json").read_bytes())
    origin, rank = record.inputs.get("base"), bundle.rank_of(folder)
    own = _license(base)
    return bundle.Manifest(
        key=record.key,
        base=bundle.Base(
            name=config.base,
            commit=config.commit,
            digest=origin.digest if origin and not config.commit else None,
            license=own,
        ),
        quantization=record.payload["config"]["model"]["quantization"],
        data=record.payload["inputs"]["train"],
        license=config.license or own,
        refusal={"*": refusal} if refusal else {code: refusal_sentence(code) for code in sorted(LANGUAGES)},
        scores=bundle.Scores(**{name: report[name] for name in bundle.Scores.model_fields}),
        rank=rank,
        max_lora_rank=bundle.max_lora_rank(rank),
        obstacles=bundle.obstacles(folder),
    )


def _license(base: Path) -> str | None:
    """As the base model's card states it."""
    from huggingface_hub import ModelCard

    try:
        found = ModelCard.load(base / "README.md", ignore_metadata_errors=True).data.to_dict().get("license")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None


def _card(config: ExportConfig, manifest: bundle.Manifest, record: Record, training: Path, prompt: Prompt) -> str:
    turns = prompt.turns
    data, report = record.inputs.get("train"), orjson.loads((training / "report.json").read_bytes())
    return render(
        "export/card.md.jinja",
        manifest=manifest,
        served_as=record.key[:16],
        max_new_tokens=config.max_new_tokens,
        messages=_json(turns.messages(EXAMPLE)),
        documents=_json(turns.documents(EXAMPLE)),
        examples=report["examples"],
        data=data.about if data else "",
        recipe=_flat(record.payload["config"]),
        steps=report["steps"],
        libraries=record.payload["libraries"],
    )


def _json(turns: list[Any] | None) -> str:
    return json.dumps(turns, ensure_ascii=False) if turns else ""


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
