"""What a plan says of each kind of change, as facts; and a few of them as text."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import wording
from flows.doctor.evaluation import planned_power
from flows.wording import run_name
from tasks.engine.errors import UserError
from tasks.engine.plan import _cost, _share
from tasks.engine.record import Change, Reason, Record, Shards
from tests.flows.conftest import Project
from tests.tasks.tiny import toy_base

NEEDS = {
    "validate": [],
    "validate evaluation": [],
    "build": ["validate", "validate evaluation"],
    "train": ["build"],
    "export": ["train", "validate"],
    "answer base": ["build"],
    "answer tuned": ["build", "train"],
    "score base": ["build", "answer base"],
    "score tuned": ["build", "answer tuned"],
    "gate": ["score base", "score tuned"],
    "report": [
        *("build", "answer base", "answer tuned", "score base", "score tuned", "gate", "train", "export"),
        "validate",
    ],
}
Stale = dict[str, list[Change] | Reason]  # label → what changed, or another reason


def config(name: str, before: object, after: object) -> Change:
    return Change(kind="config", name=name, before=before, after=after)


def given(name: str, before: str, after: str | None = None, **facts: Any) -> Change:
    return Change(kind="input", name=name, before=before, after=after or before, **facts)


def rows(file: str, added: int, removed: int) -> Change:
    shards = Shards(changed=1, removed=0, total=1)
    return given("rows", file, file, shards=shards, rows_added=added, rows_removed=removed)


def code(file: str, **symbols: tuple[str, ...]) -> Change:
    return Change(kind="code", name=file, **symbols)


def corrupt(problem: str) -> Reason:
    return Reason(state="corrupt", problem=problem)


TORCH = Change(kind="library", name="torch", before="2.13.0", after="2.99.0")
READ_BASE = ("build", "train", "export", "answer base", "answer tuned")
CHANGES: dict[str, tuple[Callable[[Project], object], Stale]] = {
    # A config field of each step
    "field of validate": (
        lambda p: p.set("validate.rules.k_precision.warn_below=0.9"),
        dict.fromkeys(("validate", "validate evaluation"), [config("rules.k_precision.warn_below", 0.86, 0.9)]),
    ),
    "field of build": (lambda p: p.set("build.max_tokens=512"), {"build": [config("max_tokens", 1024, 512)]}),
    "field of train": (lambda p: p.set("train.lora.r=8"), {"train": [config("lora.r", 16, 8)]}),
    "list in a field of train": (
        lambda p: p.set("train.lora.target_modules=[q_proj, v_proj]"),
        {"train": [config("lora.target_modules", "all-linear", ["q_proj", "v_proj"])]},
    ),
    "field of answer": (
        lambda p: p.set("answer.max_new_tokens=9"),
        dict.fromkeys(("answer base", "answer tuned", "export"), [config("max_new_tokens", 8, 9)]),
    ),
    "field of score": (
        lambda p: p.set("score.hallucination_threshold=0.5"),
        dict.fromkeys(("score base", "score tuned"), [config("hallucination_threshold", 0.48, 0.5)]),
    ),
    "field of gate": (lambda p: p.set("gate.better=all"), {"gate": [config("better", "any", "all")]}),
    "field of report": (lambda p: p.set("report.examples=5"), {"report": [config("examples", 10, 5)]}),
    "field of export": (lambda p: p.set("export.license=mit"), {"export": [config("license", None, "mit")]}),
    "fields of two steps": (
        lambda p: p.set("build.seed=1", "train.seed=1"),
        {"build": [config("seed", 42, 1)], "train": [config("seed", 42, 1)]},
    ),
    # Rows
    "row edited": (
        lambda p: p.lines("train.jsonl", lambda rows: [rows[0].replace("?", " please?", 1), *rows[1:]]),
        {"validate": [rows("train.jsonl", 1, 1)]},
    ),
    "row appended": (
        lambda p: p.lines("train.jsonl", lambda rows: [*rows, rows[-1].replace("?", " please?", 1)]),
        {"validate": [rows("train.jsonl", 1, 0)]},
    ),
    "row deleted": (
        lambda p: p.lines("train.jsonl", lambda rows: rows[:-1]),
        {"validate": [rows("train.jsonl", 0, 1)]},
    ),
    "row inserted at the front": (
        lambda p: p.lines("train.jsonl", lambda rows: [rows[0].replace("?", " please?", 1), *rows]),
        {"validate": [rows("train.jsonl", 1, 0)]},
    ),
    "evaluation row added": (
        lambda p: p.lines("evaluation.jsonl", lambda rows: [*rows, rows[-1].replace("?", " please?", 1)]),
        {"validate evaluation": [rows("evaluation.jsonl", 1, 0)]},
    ),
    "rows moved into a file of another name": (lambda p: moved(p), {}),
    # Prompt and base
    "template edited": (
        lambda p: p.edit("prompt.jinja", "Answer:", "Reply:"),
        dict.fromkeys(("build", "export", "answer base", "answer tuned"), [given("template", "prompt.jinja")]),
    ),
    "another template": (
        lambda p: p.set("prompt.template=plain"),
        dict.fromkeys(
            ("build", "export", "answer base", "answer tuned"), [given("template", "prompt.jinja", "plain.jinja")]
        ),
    ),
    "tokenizer": (
        lambda p: (p / "base/tokenizer.json").write_text((p / "base/tokenizer.json").read_text() + "\n"),
        dict.fromkeys(
            ("build", "train", "export", "answer base", "answer tuned"),
            [given("base", "base", changed=("tokenizer.json",))],
        ),
    ),
    "base weights": (
        lambda p: flip(p / "base/model.safetensors"),
        dict.fromkeys(
            ("build", "train", "export", "answer base", "answer tuned"),
            [given("base", "base", changed=("model.safetensors",))],
        ),
    ),
    "file added to the base": (
        lambda p: (p / "base/chat_template.jinja").write_text("{{ messages }}"),
        dict.fromkeys(
            ("build", "train", "export", "answer base", "answer tuned"),
            [given("base", "base", added=("chat_template.jinja",))],
        ),
    ),
    # Code
    "code of a step": (
        lambda p: p.edit("tasks/score.py", '{"rows_taken_over": taken,', '{"rows_taken_over": taken + 0,'),
        dict.fromkeys(("score base", "score tuned"), [code("tasks/score.py", changed=("score",))]),
    ),
    "code of a helper two modules away": (
        lambda p: p.edit(
            "tasks/text/refusal.py",
            "def _opens_with(answer: str, sentence: str, code: str)",
            "FEW = 3\n\n\ndef _opens_with(answer: str, sentence: str, code: str, few: int = FEW)",
        ),
        {
            **dict.fromkeys(
                ("validate", "validate evaluation", "score base", "score tuned", "gate", "report"),
                [code("tasks/text/refusal.py", changed=("_opens_with",), added=("FEW",))],
            ),
        },
    ),
    "code of the training child": (
        lambda p: p.edit("tasks/training/outputs.py", '"epochs": job.config.epochs,', '"epochs": 1.0,'),
        {"train": [code("tasks/training/outputs.py", changed=("save_result",))]},
    ),
    "metric added": (
        lambda p: (
            (p / "tasks/evaluation/metrics/shouting.py").write_text(
                "def shouting(row):\n    return float(row.answer.isupper())\n"
            )
            and p.edit(
                "tasks/evaluation/metrics/__init__.py",
                "METRICS = {",
                "from tasks.evaluation.metrics.shouting import shouting\n\nMETRICS = {\n"
                '    "shouting": Metric(shouting, "In capitals", "Style / domain", "lower", "rate"),',
            )
        ),
        dict.fromkeys(
            ("score base", "score tuned", "gate", "report"),
            [
                code("tasks/evaluation/metrics/__init__.py", changed=("METRICS",)),
                code("tasks/evaluation/metrics/shouting.py", added=("shouting",)),
            ],
        ),
    ),
    "HTML template": (
        lambda p: p.edit("tasks/reporting/templates/report/report.html.jinja", "<body", "<body id='x'"),
        {"report": [code("tasks/reporting/templates/report/report.html.jinja")]},
    ),
    "comment": (lambda p: p.edit("tasks/train.py", "import orjson\n", "import orjson  # fast\n"), {}),
    "docstring": (lambda p: p.edit("tasks/score.py", '    """Score ', '    """Mark '), {}),
    "formatting": (
        lambda p: p.edit("tasks/export.py", 'folder = out / "adapter"', "folder = (\n        out / 'adapter')"),
        {},
    ),
    "code that no step reaches": (lambda p: p.edit("tasks/models/model.py", "import", "UNUSED = 1\nimport"), {}),
    # What cannot change an output
    "RUNTIME field": (lambda p: p.set("train.save_steps=7", "train.report_to=[tensorboard]", "workers=3"), {}),
    "name of the run": (lambda p: p.set("name=monday"), {}),
    "config spelled otherwise": (
        lambda p: p.set("train.epochs=1", "train.learning_rate=2e-2", "train.weight_decay=0", "build.max_tokens=1_024"),
        {},
    ),
    "nothing": (lambda p: None, {}),
    # Harm
    "artifact deleted": (lambda p: shutil.rmtree(p.artifact("build")), {"build": Reason(state="deleted")}),
    "artifact corrupted": (
        lambda p: flip(p.artifact("train") / "adapter/adapter_model.safetensors"),
        {"train": corrupt("adapter/adapter_model.safetensors has other content than was published")},
    ),
    "artifact cut short": (
        lambda p: cut(p.artifact("report") / "report.md"),
        {"report": corrupt("report.md has 10 bytes instead of SIZE")},
    ),
    "file of an artifact deleted": (
        lambda p: (p.artifact("export") / "adapter/README.md").unlink(),
        {"export": corrupt("adapter/README.md is gone")},
    ),
    "manifest damaged": (
        lambda p: flip(p.artifact("train") / "manifest.json"),
        {"train": corrupt("manifest.json is missing or damaged")},
    ),
    "record damaged": (
        lambda p: flip(p.artifact("train") / "record.json"),
        {"train": corrupt("record.json has other content than was published")},
    ),
}


def moved(project: Project) -> None:
    (project / "elsewhere").mkdir()
    (project / "train.jsonl").rename(project / "elsewhere/rows.jsonl")
    project.set(f"data.train={project / 'elsewhere/rows.jsonl'}")


def flip(path: Path) -> None:
    """Change one bit in the middle; a new file, for the store's files are links."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:10])


def expected(stale: Stale, made) -> dict[str, tuple[str, Reason | None]]:
    """Every step's line: what has a reason is stale, what needs such a step waits for it, and the rest is fresh."""
    lines: dict[str, tuple[str, Reason | None]] = {}
    for label, needs in NEEDS.items():
        found = stale.get(label)
        why = found if isinstance(found, Reason) else Reason(changes=tuple(found or ()))
        if why.problem:
            size = str(made.used["report"].files["report.md"]["size"])
            why = why.model_copy(update={"problem": why.problem.replace("SIZE", size)})
        missing = tuple(each for each in needs if lines[each][0] != "fresh")
        if missing:
            lines[label] = ("waits", why.model_copy(update={"needs": missing}))  # in the order of the step's inputs
        else:
            lines[label] = ("stale", why) if found else ("fresh", None)
    return lines


@pytest.mark.parametrize(("change", "stale"), CHANGES.values(), ids=CHANGES)
def test_a_plan_tells_every_step_and_why(project, made, change, stale):
    change(project)
    statuses = {step.label: (step.status, step.why) for step in project.plan().steps}
    assert statuses == expected(stale, made)


@pytest.mark.parametrize(
    ("version", "stale"),
    [
        (
            "2.99.0",
            dict.fromkeys(
                ("train", "answer base", "answer tuned"),
                [TORCH],
            ),
        ),
        ("2.13.0+cu130", {}),
    ],
)
def test_a_plan_tells_a_library_by_its_version_without_the_local_part(project, made, install, version, stale):
    install("torch", version)
    statuses = {step.label: (step.status, step.why) for step in project.plan().steps}
    assert statuses == expected(stale, made)


def test_a_plan_says_what_it_will_cost_by_what_it_cost_before(project, made):
    project.set("report.examples=5", "train.lora.r=8")
    statuses = {step.label: step for step in project.plan().steps}
    took = {label: artifact.record.seconds for label, artifact in made.used.items()}
    assert statuses["train"].seconds == took["train"]
    assert statuses["report"].seconds == took["report"]
    assert statuses["build"].seconds == 0  # fresh
    assert all(step.gpu_seconds == 0 for step in statuses.values())  # on a CPU


def test_a_plan_does_not_tell_what_another_base_took(project, tmp_path):
    project.set(f"base.model={toy_base(tmp_path / 'base')}")
    seconds = {step.label: step.seconds for step in project.plan().steps}
    assert [seconds[label] for label in ("build", "train", "answer base", "answer tuned")] == [None] * 4
    assert seconds["validate"] == 0 and seconds["score base"]


def test_a_plan_says_how_often_a_true_gain_would_be_promoted_on_the_evaluation_set_that_there_is(project, made):
    against, found = planned_power(project.config, project.plan())
    counted = json.loads((made.used["build"].folder / "report.json").read_text())
    assert (against, found.documents, found.rows) == ("base", counted["documents"]["evaluation"], 24)
    assert found.chance == 0, "of so few documents"
    value, remedy = wording.power(found, against)
    assert "24 questions: a true gain of 0.10 in right answers" in value
    assert remedy.startswith("more evaluation documents")
    project.lines("evaluation.jsonl", lambda lines: lines[:-4])
    assert planned_power(project.config, project.plan())[1].rows == 24, "of the dataset before, until there is another"


@pytest.mark.parametrize(
    ("measured", "seconds", "gpu_seconds"),
    [
        ({"seconds": 60.0}, 6.0, 0.0),
        ({"seconds": 60.0, "gpu_seconds": 50.0}, 6.0, 5.0),
        ({"seconds": 60.0, "rows_taken_over": 0, "rows_generated": 400}, 6.0, 0.0),
        ({"seconds": 60.0, "rows_taken_over": 300, "rows_generated": 100}, 24.0, 0.0),
        ({"seconds": 60.0, "rows_taken_over": 400, "rows_generated": 0}, 6.0, 0.0),
    ],
)
def test_a_tenth_of_the_work_costs_a_tenth_of_what_all_of_it_would(measured, seconds, gpu_seconds):
    assert _cost(Record(measured=measured), 0.1) == (seconds, gpu_seconds)


def test_only_a_step_that_takes_parts_over_costs_less_for_a_change_in_part(project):
    planned = {step.label: step for step in project.plan().steps}
    build, train = planned["build"].request.step, planned["train"].request.step
    part = (Change(kind="input", name="rows", share=3 / 412),)
    assert _share(build, part, {}) == 3 / 412
    assert _share(build, (*part, config("seed", 42, 1)), {}) == 1
    assert _share(train, part, {}) == 1  # it has no use for earlier artifacts


def test_a_syntax_error_is_told_with_its_place(project):
    project.edit("tasks/export.py", "def export(", "def export((")
    with pytest.raises(UserError, match=r"tasks/export.py:\d+: not Python"):
        project.plan()


NAMES = {
    "nothing": (lambda p: None, "nothing changed · r=16", ["nothing-changed"]),
    "a row": (CHANGES["row edited"][0], "1 shard changed · r=16", ["data"]),
    "a setting": (CHANGES["field of train"][0], "train.lora.r 16 → 8", ["settings"]),
    "one of two steps": (CHANGES["field of answer"][0], "answer.max_new_tokens 8 → 9 · r=16", ["settings"]),
    "a row and four settings": (
        lambda p: (CHANGES["row edited"][0](p), p.set("build.seed=1", "train.seed=1", "gate.seed=1", "report.seed=1")),
        "1 shard changed · build.seed 42 → 1 · train.seed 42 → 1 · 2 more · r=16",
        ["data", "settings"],
    ),
    "the base": (CHANGES["base weights"][0], "base changed · r=16", ["inputs"]),
    "code": (CHANGES["code of a step"][0], "code of score · r=16", ["code"]),
    "an artifact harmed": (
        lambda p: (p.artifact("train") / "report.json").write_text("{}"),
        "train missing · r=16",
        ["missing"],
    ),
}


@pytest.mark.parametrize(("change", "named", "tags"), NAMES.values(), ids=NAMES)
def test_a_run_is_named_by_what_changed(project, made, change, named, tags):
    change(project)
    found = run_name(project.config, project.plan())
    assert found.name == f"retrain tiny · {named}"
    assert found.tags == ["tiny", "base", f"r={8 if 'lora.r' in named else 16}", *tags]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (config("lora.r", 16, 8), "config.lora.r 16 → 8"),
        (config("names", None, ["a", "b"]), "config.names none → [a, b]"),
        (Change(kind="setting_added", name="compiled"), "config.compiled is a new setting, at its default"),
        (TORCH, "library torch 2.13.0 → 2.99.0"),
        (
            code("tasks/score.py", changed=("score", "a", "b", "c"), added=("FEW",)),
            "tasks/score.py changed in score, a, b and 1 more; now used: FEW",
        ),
        (code("tasks/reporting/report.html.jinja"), "tasks/reporting/report.html.jinja changed"),
        (rows("train.jsonl", 1, 2), "input rows: 1 of 1 shards changed, rows +1 −2"),
        (
            given("base", "base", changed=("a.json",), removed=("b.json",)),
            "input base: a.json changed; b.json removed",
        ),
        (given("base", "base", "other"), "input base: base → other"),
        (given("template", "prompt.jinja"), "input template: prompt.jinja changed"),
        (Change(kind="input", name="answers"), "input answers changed"),
        (Change(kind="input", name="start", after="train/3f2a"), "input start added"),
    ],
)
def test_a_change_as_text(change, text):
    assert wording.change(change) == text


@pytest.mark.parametrize(
    ("why", "lines"),
    [
        (Reason(), ["no earlier artifact"]),
        (Reason(state="deleted"), ["build/3f2a was deleted"]),
        (corrupt("report.md is gone"), ["build/3f2a: report.md is gone"]),
        (
            Reason(needs=("build", "train"), changes=(config("seed", 1, 2),)),
            ["needs build, train", "config.seed 1 → 2"],
        ),
        (Reason(note="input rows changed"), ["input rows changed"]),
    ],
)
def test_a_reason_as_text(why, lines):
    assert wording.reasons(why, "build/3f2a") == lines
