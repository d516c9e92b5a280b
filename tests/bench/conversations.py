"""Do earlier turns count? Follow-up questions that only the turn before makes clear, trained with it and without.

Each conversation is about one of three data sheets that state the same attributes: a question, its answer, and then
"And the oil grade?" (of which sheet?) or "And that of P-204?" (of what?). The same rows train two adapters of one base,
one with `history`, one without, and each answers such conversations about other sheets. The ratio is the share of right
answers that `history` adds, and must reach .3. With MODEL, the folder of a real instruct model: minutes on two cores;
without it the hub's SmolLM2-135M-Instruct. The tiny base, which knows no conversations, is too small to learn it.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data.plant.make import ATTRIBUTES, FACTS, KINDS, REFUSAL
from flows.config import load
from flows.pipeline import planned
from tasks.engine.code.source import ROOT
from tasks.engine.storage.store import Artifact
from tasks.evaluation.gating.compare import compare
from tasks.evaluation.metrics.scores import Scores
from tests.bench.harness import verdict

ROWS = {"train": int(os.environ.get("BENCH_ROWS", 300)), "evaluation": 120}
TARGET = 0.3  # of correct
WORK = ROOT / "artifacts/.conversations"  # a run that was interrupted goes on
SETTINGS = (
    *("build.max_tokens=1024", "build.share_beginnings=false", "build.refusal_share=null", "parity.enabled=false"),
    *("train.batch_size=1", "train.accumulation=2", "train.epochs=1"),
)


def conversations(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows with `history`: three sheets each, one in six without an answer."""
    r = random.Random(seed)
    return [_conversation(r, f"{seed}-{number}") for number in range(count)]


def _conversation(r: random.Random, name: str) -> dict[str, Any]:
    tags = [f"{r.choice(list(KINDS))}-{n}" for n in r.sample(range(101, 1000), 3)]
    first, second, third = r.sample(list(ATTRIBUTES), 3)
    values = {tag: {attribute: ATTRIBUTES[attribute][0](r) for attribute in (first, second, third)} for tag in tags}
    asked, other = tags[:2]
    history = [
        {"role": "user", "content": f"What is the {first} of {asked}?"},
        {"role": "assistant", "content": f"{values[asked][first]}, sheet {asked}."},
    ]
    if r.random() < 0.5:
        query, sheet, attribute = f"And the {second}?", asked, second
    else:
        query, sheet, attribute = f"And that of {other}?", other, first
    answer = f"{values[sheet][attribute]}, sheet {sheet}."
    if r.random() < 1 / 6:
        del values[sheet][attribute]
        answer = REFUSAL
    passages = [_passage(r, tag, values[tag]) for tag in r.sample(tags, 3)]
    return {
        "id": name, "document": f"{name}/{asked}", "history": history, "query": query, "context": passages,
        "answer": answer,
    }  # fmt: skip


def _passage(r: random.Random, tag: str, facts: dict[str, str]) -> str:
    said = []
    for attribute, value in r.sample(sorted(facts.items()), len(facts)):
        form = r.choice([form for form, _ in FACTS[:2]])
        said.append(form.format(a=attribute, A=attribute.capitalize(), v=value))
    return " ".join([f"Data sheet {tag}, {r.choice(KINDS[tag[0]])}.", *said])


def main() -> None:
    model = os.environ.get("MODEL", "")
    scores = {who: _retrained(who, WORK / who.partition(" ")[0], model) for who in ("with history", "without")}
    both = scores["without"], scores["with history"]
    found = compare(*both, ("without", "with history"), resamples=2_000, seed=0, metrics=["correct"])[0]
    shown = Table(title="Follow-up questions, answered by the tuned model", title_justify="left", box=None)
    for column in ("", "right [95 %]", "questions"):
        shown.add_column(column)
    for who, figure in found.figures.items():
        shown.add_row(who, f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]", str(found.rows))
    Console(width=100).print(shown)
    change = found.difference
    gained = change.value if change else 0.0
    verdict(
        "conversations",
        ratio=gained,
        target=TARGET,
        holds=gained >= TARGET,
        interval=[round(change.low, 3), round(change.high, 3)] if change else None,
        **{who.replace(" ", "_"): round(figure.value or 0, 3) for who, figure in found.figures.items()},
    )


def _retrained(who: str, folder: Path, model: str) -> Scores:
    """The tuned model's scores after a retraining on rows as `who` says."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = [f"store={folder}/store", *SETTINGS, *([f"base.model={Path(model).resolve()}"] if model else [])]
    for seed, (side, count) in enumerate(ROWS.items()):
        rows = conversations(count, seed)
        if who == "without":
            rows = [{name: value for name, value in row.items() if name != "history"} for row in rows]
        (folder / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings.append(f"data.{side}={folder}/{side}.jsonl")
    config = ROOT / "deployments/configs/proof.yaml"
    command = [sys.executable, "-m", "flows.cli", "retrain", str(config)]
    print(f"{who}:", flush=True)
    subprocess.run([*command, *(word for each in settings for word in ("--set", each))], cwd=ROOT, check=True)
    report = planned(load(config, settings))[1].report
    assert isinstance(report, Artifact)
    made = report.input_artifact("tuned_scores")
    assert made
    return Scores.read(made.local() / "scores.arrow")


if __name__ == "__main__":
    main()
