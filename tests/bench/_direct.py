"""The steps of a retraining called one after the other, with no store and no Prefect: ``… CONFIG FOLDER``.

Prints {step: seconds} as JSON.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.config import load
from flows.pipeline import pipeline
from tasks.engine import Config, Step
from tasks.engine.mapper import map_serial
from tasks.engine.storage.store import Store


@dataclass
class Folder:
    """What a step wrote, as the next one's input."""

    path: Path
    digest: str = ""

    def local(self) -> Path:
        return self.path

    def __getitem__(self, part: str) -> "Folder":
        return Folder(self.path / part)


class Direct:
    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store")  # with no champion in it
        self.folder = folder
        self.seconds: dict[str, float] = {}

    def __call__(self, step: Step, config: Config, *, label: str = "", **inputs: Any) -> Folder:
        label = label or step.name
        out, work = self.folder / label, self.folder / f"{label} work"
        out.mkdir()
        work.mkdir()
        places = {name: each.local() if each else None for name, each in inputs.items()}
        more = {
            name: each for name, each in {"work": work, "earlier": [], "mapper": map_serial}.items() if step.takes(name)
        }
        start = time.monotonic()
        step(config, **places, **more, out=out)
        self.seconds[label] = time.monotonic() - start
        told = {"config": config.model_dump(mode="json"), "libraries": {}}
        record = {"step": step.name, "key": "0" * 64, "payload": told, "inputs": {name: {} for name in inputs}}
        (out / "record.json").write_text(json.dumps(record))
        return Folder(out)


if __name__ == "__main__":
    direct = Direct(Path(sys.argv[2]))
    pipeline(load(Path(sys.argv[1])), direct)
    print(json.dumps(direct.seconds))
