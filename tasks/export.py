"""export: the adapter as a folder that anyone can load: weights, tokenizer, prompt template and model card."""

from pathlib import Path
from typing import Any

import orjson
from pydantic import Field

from tasks.engine import Config, step
from tasks.engine.record import Record
from tasks.reporting.rendering import render, templates


class ExportConfig(Config):
    """Filled in by the flow: the base model as its user named it."""

    base_model: str = Field("", description="Folder or hub name of the base model.")
    base_revision: str = Field("main", description="Revision on the hub.")


@step(libraries=("jinja2", "transformers"), resources=templates("export"), parts=("adapter",))
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
    return render(
        "export/card.md.jinja",
        base=config.base_model,
        key=record.key[:16],
        examples=report["examples"],
        data=data.about if data else "",
        recipe=_flat(record.payload["config"]),
        before=report["held_out_loss_before"],
        after=report["held_out_loss_after"],
        steps=report["steps"],
        libraries=record.payload["libraries"],
    )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
