"""export: the adapter as a folder that anyone can load: weights, tokenizer, prompt template and model card."""

from pathlib import Path
from typing import Any

import orjson
from pydantic import Field

from tasks.engine import Config, step
from tasks.engine.record import Record

CARD = """\
---
library_name: peft
base_model: {base}
pipeline_tag: text-generation
tags: [lora, qlora, rag]
---

# LoRA adapter for {base}

Answers a question from the passages that it is given, and says so when they hold no answer. Trained by Reground;
key `{key}`.

```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```

`prompt.jinja` is the prompt template that it was trained with; a prompt in any other form will do worse.

## Data

{examples} examples, from artifact `{data}`. Loss on the answers only.

## Recipe

| | |
|---|---|
{recipe}

## Scores in training

Held-out loss (mean negative log-likelihood per answer token): {before} before, {after} after {steps} steps.

## Libraries

{libraries}
"""


class ExportConfig(Config):
    """Filled in by the flow: the base model as its user named it."""

    base_model: str = Field("", description="Folder or hub name of the base model.")
    base_revision: str = Field("main", description="Revision on the hub.")


@step(libraries=("transformers",), parts=("adapter",))
def export(config: ExportConfig, *, training: Path, base: Path, template: Path, out: Path) -> None:
    """Gather what serving needs from the `training` artifact, the `base` model's tokenizer and the `template`.

    Writes out/adapter/: adapter_model.safetensors, adapter_config.json (naming the base model), tokenizer files,
    prompt.jinja and README.md, the model card.
    """
    import shutil

    from tasks.models.model import load_tokenizer

    folder = out / "adapter"
    shutil.copytree(training / "adapter", folder)
    adapter = orjson.loads((folder / "adapter_config.json").read_bytes())
    adapter["base_model_name_or_path"] = config.base_model
    adapter["revision"] = config.base_revision
    (folder / "adapter_config.json").write_bytes(orjson.dumps(adapter, option=orjson.OPT_INDENT_2))
    load_tokenizer(base).save_pretrained(str(folder))
    shutil.copyfile(template, folder / "prompt.jinja")
    (folder / "README.md").write_text(_card(config, training), encoding="utf-8")


def _card(config: ExportConfig, training: Path) -> str:
    record = Record.model_validate_json((training / "record.json").read_bytes())
    data = record.inputs.get("train")
    report = orjson.loads((training / "report.json").read_bytes())
    recipe = {name: value for name, value in _flat(record.payload["config"]).items() if value is not None}
    return CARD.format(
        base=config.base_model,
        key=record.key[:16],
        examples=report["examples"],
        data=data.about if data else "",
        recipe="\n".join(f"| {name} | {value} |" for name, value in recipe.items()),
        before=_number(report["held_out_loss_before"]),
        after=_number(report["held_out_loss_after"]),
        steps=report["steps"],
        libraries=", ".join(f"{name} {version}" for name, version in record.libraries.items()),
    )


def _number(loss: float | None) -> str:
    return "not measured" if loss is None else f"{loss:.4f}"


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
