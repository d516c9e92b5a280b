"""A whole evaluation on disk, every folder as its step writes it, with the records that name it; and its report."""

import hashlib
import json
from pathlib import Path

import orjson

from tasks.data.triplets import read_triplets
from tasks.gate import GateConfig, gate
from tasks.report import ReportConfig, report
from tasks.score import ScoreConfig, score
from tasks.slices import SlicesConfig, slices
from tests.tasks.evaluation.rows import write_adapter, write_answers, write_rows, write_training
from tests.tasks.tiny import COURSE

ROOT = Path(__file__).parents[3]
BASE = ROOT / "data/tiny-base"
CONFIG = ReportConfig(resamples=300)
COST = {"train_seconds": 120.3, "tokens_per_second": 12345, "computed_tokens_per_second": 12345, "mfu": 0.456}
COST |= {"peak_mib": 20123, "predicted_mib": 20500}
GATE = GateConfig(resamples=300)


def inputs(folder, rows, base, tuned, *, base_shots=None, champion=None, shipped=None, config=GATE):
    """The report step's inputs; each system says the answer to a row."""
    places = {"rows": record(write_rows(folder / "rows", rows), "build")}
    systems = {"base": base, "base_shots": base_shots, "tuned": tuned, "champion": champion, "shipped": shipped}
    scores = {}
    for name, say in systems.items():
        if say:
            answers = places[f"{name}_answers"] = record(write_answers(folder / f"{name}_answers", rows, say), "answer")
            scores[f"{name}_scores"] = made(
                folder / f"{name}_scores", score, ScoreConfig(), rows=places["rows"], answers=answers
            )
    places |= {name: scores[name] for name in scores if name != "shipped_scores"}
    places["gate"] = made(folder / "gate", gate, config, **scores)
    places["training"] = record(write_training(folder / "training"), "train", measured={**COST, "seconds": 129.4})
    places["adapter"] = record(write_adapter(folder / "export"), "export")
    return {name: place for name, place in places.items() if not name.startswith("shipped")}


def with_source(folder, places, rows):
    """The inputs with training rows."""
    return places | {"source": record(write_rows(folder / "source", rows), "validate")}


def with_slices(folder, places, base, tuned, most=12):
    """The inputs with the slices of their rows, made by their step, answered as `base` and `tuned` say, and scored."""
    config = SlicesConfig(rows_per_slice=most, prompt=COURSE)
    made_slices = made(folder / "slices", slices, config, rows=places["rows"], base=BASE)
    harder = made_slices / "rows"
    rows = list(read_triplets(harder))
    found = places | {"slices": made_slices}
    for name, say in (("base", base), ("tuned", tuned)):
        answers = record(write_answers(folder / f"{name}_sliced_answers", rows, say), "answer")
        scores = folder / f"{name}_slices"
        found[f"{name}_slices"] = made(scores, score, ScoreConfig(), rows=harder, answers=answers)
    return found


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


def record(folder, step, **more):
    """Name a folder as the store would; the key is its own name's hash."""
    key = hashlib.sha256(folder.name.encode()).hexdigest()
    (folder / "record.json").write_bytes(orjson.dumps({"step": step, "key": key, **more}))
    return folder
