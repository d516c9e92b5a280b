"""Adapters made worse on purpose, by real trainings of the tiny base on spoilt data: none is ever promoted."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.config import TINY, load
from flows.pipeline import pipeline
from flows.promotion.decisions import apply_decision
from flows.promotion.promotions import Promotions
from tasks.engine.key import Request
from tasks.engine.make import make

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

ROOT = Path(__file__).resolve().parents[1]
REFUSAL = "Not stated in the sheet."
SHORT = (
    *("train.max_steps=25", "train.accumulation=4", "train.eval_steps=25"),
    *(f"validate.rules.{rule}='off'" for rule in ("absent_number", "absent_entity", "duplicate", "conflict")),
    *(f"validate.rules.{rule}.level='off'" for rule in ("k_precision", "content_coverage", "bigram_coverage")),
)


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (ROOT / f"data/plant/{name}.jsonl").read_text().splitlines()]


def write(path: Path, given: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return path


def two_a_document(given: list[dict]) -> list[dict]:
    """Of each document one question that its sheet answers and, if there is one, one that it does not."""
    found = {(row["document"], row["answer"] == REFUSAL): row for row in reversed(given)}
    return list(found.values())


def shuffled(given: list[dict]) -> list[dict]:
    answers = [row["answer"] for row in given]
    random.Random(0).shuffle(answers)
    return [row | {"answer": answer, "gold": []} for row, answer in zip(given, answers, strict=True)]


def refusing(given: list[dict]) -> list[dict]:
    return [row | {"answer": REFUSAL, "gold": []} for row in given]


def ungrounded(given: list[dict]) -> list[dict]:
    """A figure that no sheet states, whatever is asked."""
    chance = random.Random(0)
    return [
        row | {"answer": f"{chance.randint(5000, 9999)} units, sheet Q-{chance.randint(10, 99)}.", "gold": []}
        for row in given
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One store for all: they have the same base, and its answers are made once."""
    folder = tmp_path_factory.mktemp("spoilt")
    write(folder / "evaluation.jsonl", two_a_document(rows("evaluation")))
    return folder


def retrained(place: Path, spoil, *settings: str) -> SimpleNamespace:
    """A run of the whole pipeline on spoilt training data, settled as the flow settles it."""
    train = write(place / f"{spoil.__name__}.jsonl", spoil(rows("train")))
    given = {"store": place / "store", "data.train": train, "data.evaluation": place / "evaluation.jsonl"}
    config = load(TINY, [*(f"{name}={value}" for name, value in given.items()), *SHORT, *settings])
    store, made = config.open_store(), set()

    def run(step, step_config, *, label="", **inputs):
        artifact, there = make(Request(step, step_config, inputs, label or step.name), store)
        made.update(() if there else {label or step.name})
        return artifact

    run.store = store
    outcome = pipeline(config, run)
    settled = apply_decision(store, config.promotion, outcome)
    told = json.loads((outcome.gate.folder / "gate.json").read_text())
    failing = {(each["against"], each["metric"]) for each in told["verdicts"] if each["outcome"] == "fails"}
    return SimpleNamespace(
        **told, failing=failing, settled=settled, made=made, champion=Promotions(store).state.champion
    )


def one_sentence(why: str) -> bool:
    return why.endswith(".") and ". " not in why


@pytest.mark.parametrize(
    ("spoil", "failing", "settings"),
    [
        (shuffled, "over_refusal", ()),  # learns the one answer that is often right; with what ships, too
        pytest.param(
            refusing,
            "over_refusal",
            ("parity.enabled=false", "slices.enabled=false"),
        ),
        pytest.param(
            ungrounded,
            "hallucination",
            ("parity.enabled=false", "slices.enabled=false"),
        ),
    ],
)
def test_an_adapter_trained_on_spoilt_answers_is_refused_and_one_sentence_says_why(place, spoil, failing, settings):
    found = retrained(place, spoil, *settings)
    assert found.decision == "refuse"
    assert ("base", failing) in found.failing
    assert one_sentence(found.why), found.why
    assert "is worse than the base, which is more than the margin of" in found.why
    assert found.champion is None
    print(f"\n{spoil.__name__}: {found.why}")
    if not settings:
        assert {"answer shipped", "score shipped", "slices", "score slices base", "score slices tuned"} <= found.made
        assert "trained" in {each["against"] for each in found.verdicts}
