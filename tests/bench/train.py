"""Training, useful tokens/s and held-out answer loss, against the course's script ported to TRL.

Same base in NF4, same rows, one epoch of each, alternating. Useful tokens are those of the rows, padding is none; the
clock runs while the trainer trains, not while Python imports. The course's script is what it was: batches of 2 × 4,
padded, an adapter on q_proj and v_proj, loss on every token, learning rate 2e-4. Ours is the sample's config, packed,
with loss on the answers: once with the course's adapter, of the same layers and rank, which the target is for, and once
with its own, on every linear layer. With MODEL, the folder of a real instruct model, SQuAD 2.0 on it is a third case
(DATA: see _squad.py); there rows about one passage share a copy of it, as in `make proof`, and it may take no more
memory than the course's. Held-out loss is measured by a further program, row by row.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from flows.config import TINY, load
from tests.bench._train_data import Data, long_tailed, sample, squad
from tests.bench.harness import Measured, alternate, measure, seconds, table, verdict

ROWS = int(os.environ.get("BENCH_ROWS", 400))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 3))
MODEL, DATA = os.environ.get("MODEL", ""), os.environ.get("DATA", "")
TARGET, TARGET_REAL = 2.0, 2.5  # times the course's useful tokens/s
REAL_ROWS = 120  # some 16,000 tokens of SmolLM2-135M: two minutes of the course's script on two cores
EXAMPLES = 8  # about, of an optimizer step: the course's 2 × 4
MADE = {"sample": sample, "long-tailed": long_tailed}
OURS, WIDE, COURSE = "reground", "reground, every linear layer", "the course's script"


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, make in MADE.items():
            found[kind] = _compare(kind, make(Path(name) / kind / "data", ROWS), Path(name) / kind)
        if MODEL:
            data = squad(Path(name) / "squad" / "data", min(ROWS, REAL_ROWS), Path(MODEL), DATA)
            found["squad"] = _compare("squad", data, Path(name) / "squad")
    targets = {kind: TARGET_REAL if kind == "squad" else TARGET for kind in found}
    verdict(
        "train",
        ratio=min(each["times"] / targets[kind] for kind, each in found.items()),
        target=1.0,
        holds=all(
            each["times"] >= targets[kind]
            and each["loss"] <= each["loss_course"]
            and (kind != "squad" or each["memory"] <= 1)
            for kind, each in found.items()
        ),
        **{kind.replace("-", "_"): each for kind, each in found.items()},
    )


def _compare(kind: str, data: Data, folder: Path) -> dict[str, Any]:
    tokens = {}
    jobs = {}

    def run(who: str, module: str, given: dict[str, Any]) -> Measured:
        jobs[who] = job = Path(tempfile.mkdtemp(dir=folder))
        (job / "job.json").write_text(json.dumps({"base": str(data.base), "out": str(job / "out"), **given}))
        measured = measure([sys.executable, "-m", f"tests.bench.{module}", job / "job.json"])
        result = json.loads(measured.out.splitlines()[-1])
        tokens[who] = result["tokens"]
        return Measured(result["seconds"], measured.peak)

    wide = _config(data)
    course = {**wide, "lora": {**wide["lora"], "target_modules": ["q_proj", "v_proj"]}}
    texts = {"texts": str(data.texts), "max_tokens": data.max_tokens}
    samples = alternate(
        {
            OURS: lambda: run(OURS, "_train_ours", {"train": str(data.train), "config": course}),
            WIDE: lambda: run(WIDE, "_train_ours", {"train": str(data.train), "config": wide}),
            COURSE: lambda: run(COURSE, "_course", texts),
        },
        rounds=ROUNDS,
    )
    table(f"{kind}: {tokens[OURS]:,} tokens, seconds of training", samples)
    assert len(set(tokens.values())) == 1, tokens  # the same rows
    losses = _losses(folder, jobs, data)
    rates = {who: tokens[who] / seconds(samples, who) for who in samples}
    pairs = zip(samples[COURSE], samples[OURS], strict=True)
    return {
        "times": round(rates[OURS] / rates[COURSE], 2),
        "times_by_round": [round(theirs.seconds / ours.seconds, 2) for theirs, ours in pairs],
        "times_every_layer": round(rates[WIDE] / rates[COURSE], 2),
        "memory": round(max(one.peak for one in samples[OURS]) / max(one.peak for one in samples[COURSE]), 2),
        "tokens_per_second": round(rates[OURS]),
        "tokens_per_second_course": round(rates[COURSE]),
        **losses,
    }


def _config(data: Data) -> dict[str, Any]:
    """The sample's config for one epoch, with as many examples a step as the course has, near enough."""
    from tasks.data.dataset.folder import Lengths
    from tasks.data.dataset.folder import load as sequences

    packed = len(Lengths.of(data.train).wholes) / len(sequences(data.train))
    settings = load(TINY).train.model_dump(mode="json")
    batch = max(1, round(EXAMPLES / packed))
    return {**settings, "epochs": 1.0, "fit": "auto", "batch_size": 1, "accumulation": batch}


def _losses(folder: Path, jobs: dict[str, Path], data: Data) -> dict[str, float]:
    """Of the base and of each contestant's last adapter."""
    adapters = {
        "loss_base": None,
        "loss": str(jobs[OURS] / "out/made/adapter"),
        "loss_every_layer": str(jobs[WIDE] / "out/made/adapter"),
        "loss_course": str(jobs[COURSE] / "out/adapter"),
    }
    job = folder / "loss.json"
    job.write_text(json.dumps({"base": str(data.base), "heldout": str(data.heldout), "adapters": adapters}))
    out = measure([sys.executable, "-m", "tests.bench._answer_loss", job]).out
    return {name: round(loss, 4) for name, loss in json.loads(out.splitlines()[-1]).items()}


if __name__ == "__main__":
    main()
