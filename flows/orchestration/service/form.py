"""The run form of Prefect's UI: what people change first at its top, and groups that are named in words."""

import re
from collections.abc import Mapping
from typing import Any

from flows.deployed import FIRST

Schema = dict[str, Any]
NAMES = {
    "lora": "LoRA",
    "mlflow": "MLflow",
    "url": "URL",
    "judge": "Judges",
    "qlora": "QLoRA",
    "validate": "Validation",
}


def shaped(schema: Schema) -> Schema:
    """The schema of a flow's parameters as its form shows it, and as the server holds parameters to it.

    A parameter that the flow does not have is refused when a run is submitted. The settings of `FIRST` stand at the top
    of the config by their dotted names, and in their groups as well.
    """
    made: Schema = {**schema, "additionalProperties": False}
    properties: Schema = made.get("properties", {})
    for name in {"because"} & properties.keys():
        properties[name]["position"] = -1
    definitions: Schema = made.get("definitions", {})
    for definition in definitions.values():
        for name, each in definition.get("properties", {}).items():
            if section := _section(each):
                each["title"] = definitions[section]["title"] = words(name)
    config = properties.get("config")
    if config and (found := definitions.get(_section(config) or "")):
        first = {name: leaf for name in FIRST if (leaf := _leaf(found, name, config.get("default", {}), definitions))}
        for position, each in enumerate(first.values()):
            each["position"] = position - len(first)
        found["properties"] = first | found["properties"]
    return made


def words(name: str) -> str:
    """`max_grad_norm` as `Max grad norm`."""
    return NAMES.get(name) or " ".join(NAMES.get(part, part) for part in name.split("_")).strip().capitalize()


def _section(field: Mapping[str, Any]) -> str | None:
    """The definition that a field is of, if it is a group of fields."""
    found = re.fullmatch("#/definitions/(.+)", str(field.get("$ref", "")))
    return found[1] if found else None


def _leaf(definition: Schema, name: str, default: Any, definitions: Schema) -> Schema | None:
    """The field of a dotted name, with its value in the deployment's config; None if there is none of that name."""
    head, _, rest = name.partition(".")
    field = definition.get("properties", {}).get(head)
    value = default.get(head) if isinstance(default, dict) else None
    if field is None:
        return None
    if rest:
        section = definitions.get(_section(field) or "")
        found = _leaf(section, rest, value, definitions) if section else None
        return found and {**found, "title": name}
    return {**field, "title": name, "default": value}
