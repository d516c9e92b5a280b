"""What a store shows to a reader, judged without the store's own code."""

import hashlib
import json
import re
from pathlib import Path

STEPS = ("validate", "build", "train", "export", "answer", "score", "gate", "report")
MANIFEST = "manifest.json"


def published(store: Path) -> dict[str, bytes]:
    """The manifest of every artifact that can be seen, oldest first; "step/key" → bytes. Its files are as it says.

    Raises AssertionError for an artifact that is partial: without a manifest, or with a file missing, other or too
    many.
    """
    found = {}
    for folder in sorted(folder for step in STEPS for folder in (store / step).glob("*")):
        about = f"{folder.parent.name}/{folder.name}"
        assert (folder / MANIFEST).is_file(), f"{about} has no manifest"
        found[about] = (folder / MANIFEST).read_bytes()
        wanted = {name: (each["size"], each["sha256"]) for name, each in json.loads(found[about])["files"].items()}
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        del files[MANIFEST]
        there = {name: (path.stat().st_size, _sha256(path)) for name, path in files.items()}
        assert there == wanted, f"{about} is not as its manifest says"
    return dict(sorted(found.items(), key=lambda each: json.loads(each[1])["made_ns"]))


def contents(store: Path) -> dict[str, dict[str, str]]:
    """What was made: "step/key" → file name → SHA-256, but for what tells of the hour."""
    return {
        about: {
            name: untimed(store / about / name) if about.startswith("report/") else each["sha256"]
            for name, each in json.loads(manifest)["files"].items()
            if name != "record.json"
        }
        for about, manifest in published(store).items()
    }


def untimed(path: Path) -> str:
    """The SHA-256 of a report's file but for what the training cost, which is of its record."""
    text = path.read_text()
    if path.name == "report.json":
        told = json.loads(text)
        del told["training"]["cost"]
        text = json.dumps(told, sort_keys=True)
    elif path.name == "report.md":
        text = text.partition("## What the training cost")[0]
    elif path.name == "report.html":
        text, count = re.subn("What the training cost.*?</table>", "", text, flags=re.S)
        assert count == 1
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
