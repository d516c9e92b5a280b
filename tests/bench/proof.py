"""A real instruct model on real text, trained and judged end to end: SmolLM2-135M on SQuAD 2.0. Needs most of an hour.

`make proof`, or with MODEL=folder DATA=folder where there is no hub. The run is that of deployments/configs/proof.yaml;
one that was interrupted goes on, and what its steps took before counts. *Correct*, token F1 and refusals
count every answer that people gave, per kind of question: answerable ones, those that people wrote to look answerable,
and those whose passage the retrieval missed. Intervals are of 95 %, by paragraph.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from flows.config import Retrain, load
from flows.pipeline import planned
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Artifact
from tasks.evaluation.answers import answered
from tasks.evaluation.gating.compare import compare
from tasks.evaluation.gating.decision import Comparison
from tasks.evaluation.metrics import METRICS, Row
from tasks.evaluation.metrics.scores import Scores
from tasks.text import ContextView
from tests.bench._squad import MISSED, make, references
from tests.bench.harness import verdict

CONFIG = ROOT / "deployments/configs/proof.yaml"
WORK = ROOT / "artifacts/.proof"
MINUTES, GIB, F1 = 60, 8, 0.40
# What is counted, by the kinds of question that it is counted on.
FIGURES = {
    "correct": ("correct", "answerable"),
    "token_f1": ("token_f1", "answerable"),
    "exact_match": ("exact_match", "answerable"),
    "over_refusal": ("over_refusal", "answerable"),
    "refusing": ("abstention_f1", "answerable", "missed"),
    "refused_missed": ("abstention_recall", "missed"),
    "refusing_unanswerable": ("abstention_f1", "answerable", "unanswerable"),
    "refused_unanswerable": ("abstention_recall", "unanswerable"),
    "support": ("faithfulness", "answerable", "missed", "unanswerable"),
}


def main() -> None:
    began = time.monotonic()
    config = configured(os.environ.get("MODEL", ""), os.environ.get("DATA", ""))
    settings = [f"base.model={config.base.model}", f"store={config.store}"]
    settings += [f"data.{side}={getattr(config.data, side)}" for side in ("train", "evaluation")]
    command = [sys.executable, "-m", "flows.cli", "retrain", str(CONFIG)]
    subprocess.run([*command, *(word for each in settings for word in ("--set", each))], cwd=ROOT, check=False)
    minutes = (time.monotonic() - began) / 60
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    planner, outcome = planned(config)
    report = outcome.report
    if not isinstance(report, Artifact):
        raise UserError("the run did not end", "mend what it says above, and run `make proof` again: it goes on")
    found = figures(report, Path(str(config.data.evaluation)))
    show(found)
    records = [step.artifact.record for step in planner.steps if step.artifact]
    taken = sum(record.seconds or 0 for record in records) / 60  # in earlier parts of this run, too
    ending(found, max(minutes, taken), max(peak, *(record.measured.get("peak_mib", 0) / 1024 for record in records)))


def configured(model: str, data: str) -> Retrain:
    """The proof's config on this machine, with its data made."""
    if model and not (Path(model) / "config.json").is_file():
        raise UserError(f"MODEL={model} holds no config.json", "name the folder of SmolLM2-135M-Instruct")
    made = make(data, WORK / "data")
    changed = [f"store={WORK / 'store'}", f"data.train={made['train']}", f"data.evaluation={made['eval']}"]
    if model:
        changed.append(f"base.model={Path(model).resolve()}")
    config = load(CONFIG, changed)
    try:
        planned(config)
    except UserError as error:
        if model:
            raise
        raise UserError(f"{config.base.model} cannot be had: {error.what}", "name its folder: MODEL=/path") from error
    return config


def figures(report: Artifact, evaluation: Path) -> dict[str, Comparison]:
    """Base and tuned on the kinds of question, by the names of `FIGURES`."""
    people = references(evaluation)
    rows = _input(report, "rows")
    scored = {who: _scores(rows, _input(report, f"{who}_answers"), people) for who in ("base", "tuned")}
    found = {}
    for name, (metric, *kinds) in FIGURES.items():
        base, tuned = (_only(each, kinds) for each in scored.values())
        found[name] = compare(base, tuned, ("base", "tuned"), resamples=2_000, seed=0, metrics=[metric])[0]
    return found


def _input(report: Artifact, name: str) -> Path:
    made = report.input_artifact(name)
    assert made
    return made.local()


def _scores(rows: Path, answers: Path, people: dict[str, list[str]]) -> Scores:
    names = sorted({metric for metric, *_ in FIGURES.values()})
    ids, documents, columns = [], [], {name: [] for name in [*names, "abstention_f1_weight"]}  # type: ignore[var-annotated]
    weigh = METRICS["abstention_f1"].weight
    assert weigh
    for triplet, answer in answered(rows, answers / "answers.arrow"):
        kind = "missed" if triplet.id.endswith(MISSED) else "unanswerable" if triplet.refusal else "answerable"
        row = Row(
            query=triplet.query,
            context=ContextView(triplet.context, triplet.language),
            answer=answer.text,
            reference=triplet.answer,
            aliases=tuple(people[triplet.id][1:]),
            should_abstain=triplet.refusal,
            truncated=answer.truncated,
        )
        ids.append(f"{kind}/{triplet.id}")
        documents.append(triplet.document)
        for name in names:
            value = METRICS[name].measure(row)
            columns[name].append(np.nan if value is None else float(value))
        columns["abstention_f1_weight"].append(weigh(row))
    return Scores(ids, documents, ids, {name: np.array(column) for name, column in columns.items()})


def _only(scores: Scores, kinds: list[str]) -> Scores:
    kept = np.array([name.partition("/")[0] in kinds for name in scores.ids])
    ids, documents = (
        [each for each, keep in zip(column, kept, strict=True) if keep] for column in (scores.ids, scores.documents)
    )
    return Scores(ids, documents, ids, {name: column[kept] for name, column in scores.columns.items()})


def show(found: dict[str, Comparison]) -> None:
    shown = Table(title="SmolLM2-135M-Instruct on SQuAD 2.0", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "base", "tuned", "difference [95 %]", "verdict", "n", "questions"):
        shown.add_column(column)
    for name, each in found.items():
        values = [f"{figure.value:.2f}" if figure.value is not None else "–" for figure in each.figures.values()]
        change = each.difference
        told = f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]" if change else "–"
        shown.add_row(name, *values, told, str(each.verdict), str(each.rows), " + ".join(FIGURES[name][1:]))
    Console(width=120).print(shown)


def ending(found: dict[str, Comparison], minutes: float, peak: float) -> None:
    """The line of JSON: each system's figure with its interval."""
    told: dict[str, Any] = {
        who: {
            name: [None if value is None else round(value, 3) for value in (of.value, of.low, of.high)]
            for name, each in found.items()
            for of in [each.figures[who]]
        }
        for who in ("base", "tuned")
    }
    better = all((change := found[name].difference) and change.low > 0 for name in ("correct", "refusing"))
    reached = (found["token_f1"].figures["tuned"].value or 0) >= F1
    verdict(
        "proof",
        ratio=minutes / MINUTES,
        target=1.0,
        holds=bool(better and reached and minutes <= MINUTES and peak <= GIB),
        minutes=round(minutes, 1),
        peak_gib=round(peak, 2),
        **told,
    )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"proof: {error.what}; {error.remedy}") from None
