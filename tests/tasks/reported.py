"""A whole evaluation on disk, every folder as its step writes it, with the records that name it; and its report."""

import hashlib
import json

import orjson

from tasks.gate import GateConfig, gate
from tasks.report import ReportConfig, report
from tasks.score import ScoreConfig, score
from tests.tasks.evaluation import write_adapter, write_answers, write_rows, write_training

CONFIG = ReportConfig(resamples=300)
GATE = GateConfig(resamples=300)


def inputs(folder, rows, base, tuned, *, champion=None, shipped=None, config=GATE):
    """The report step's inputs; base, tuned, champion and shipped say the answer to a row."""
    places = {"rows": record(write_rows(folder / "rows", rows), "build")}
    systems = {"base": base, "tuned": tuned, "champion": champion, "shipped": shipped}
    scores = {}
    for name, say in systems.items():
        if say:
            answers = places[f"{name}_answers"] = record(write_answers(folder / f"{name}_answers", rows, say), "answer")
            scores[f"{name}_scores"] = made(folder / f"{name}_scores", score, ScoreConfig(resamples=100),
                                            rows=places["rows"], answers=answers)
    places |= {name: scores[name] for name in ("base_scores", "tuned_scores")}
    places["gate"] = made(folder / "gate", gate, config, **scores)
    places["training"] = record(write_training(folder / "training"), "train")
    places["adapter"] = record(write_adapter(folder / "export"), "export")
    return {name: place for name, place in places.items() if not name.startswith(("champion", "shipped"))}


def told(folder, places, config=CONFIG):
    """report.json of these inputs; the whole report is in `folder/report`."""
    out = folder / "report"
    out.mkdir()
    report(config, **places, out=out)
    return json.loads((out / "report.json").read_text())


def made(folder, step, config, **inputs):
    """The folder that a step makes of its inputs."""
    folder.mkdir(parents=True)
    step(config, **inputs, out=folder)
    return record(folder, step.name)


def record(folder, step):
    """Name a folder as the store would; the key is its own name's hash."""
    key = hashlib.sha256(folder.name.encode()).hexdigest()
    (folder / "record.json").write_bytes(orjson.dumps({"step": step, "key": key}))
    return folder
