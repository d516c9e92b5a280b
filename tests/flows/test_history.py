"""Why an artifact was made, where it comes from, and how one is taken over under a new key."""

import io
import sys

import orjson
import pytest
from rich.console import Console

from flows import wording
from flows.cli import app as cli
from flows.cli import tables as display
from tasks.engine.adopt import adopt
from tasks.engine.errors import UserError
from tasks.engine.lineage import Edge, Lineage, Node, lineage, why
from tasks.engine.record import Change
from tests.flows.rerun import run

pytestmark = pytest.mark.usefixtures("loaded_training")
THRESHOLD = "score.hallucination_threshold=0.25"
BECAUSE = "the count is the same"


def printed(show, *what) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(console, *what)
    return console.file.getvalue()


def edit_score(project) -> None:
    project.edit("tasks/score.py", '{"rows_taken_over": taken,', '{"rows_taken_over": taken + 0,')


def stale(project) -> dict[str, tuple[Change, ...]]:
    """Label → what changed, of the steps that are not fresh."""
    return {step.label: step.changes for step in project.plan().steps if step.status != "fresh"}


# Adopt


def test_an_adopted_artifact_has_the_same_files_under_a_new_key_and_nothing_else_is_stale(project, made):
    project.own_store()
    edit_score(project)
    assert set(stale(project)) == {"score base", "score tuned", "gate", "report"}
    base, tuned = adopt(project.plan(), "score", BECAUSE)
    assert stale(project) == {}
    for new, label in ((base, "score base"), (tuned, "score tuned")):
        old = made.used[label]
        assert (new.digest, new.key != old.key) == (old.digest, True)
        assert new.record.adopted.source == old.about
        assert new.record.adopted.because == BECAUSE
        assert new.record.adopted.by
        assert new.record.why.changes == (Change(kind="code", name="tasks/score.py", changed=("score",)),)
        assert new.record.before == old.key


def test_one_label_of_a_step_is_adopted_by_itself(project):
    project.own_store()
    edit_score(project)
    adopt(project.plan(), "score base", BECAUSE)
    assert set(stale(project)) == {"score tuned", "gate", "report"}


def test_the_next_change_is_told_against_what_was_adopted(project):
    project.own_store()
    edit_score(project)
    adopt(project.plan(), "score", BECAUSE)
    project.set(THRESHOLD)
    change = Change(kind="config", name="hallucination_threshold", before=0.48, after=0.25)
    assert stale(project)["score base"] == (change,)


def test_another_version_of_a_library_can_be_adopted(project, install):
    project.own_store()
    install("scipy", "1.99.0")
    assert stale(project)["score base"] == (
        Change(kind="library", name="scipy", before=installed("scipy"), after="1.99.0"),
    )
    for step in ("score", "gate", "report"):
        adopt(project.plan(), step, "only the docs changed")
    assert stale(project) == {}


def installed(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def test_the_parts_of_an_adopted_artifact_can_still_be_taken_over(project, made):
    """Unchanged shards are known by their function's code, which the adopted artifact's record names anew."""
    project.own_store()
    project.edit("tasks/validate.py", "parts.write()", "parts.write() or None")
    (adopted,) = adopt(project.plan(), "validate", BECAUSE)[:1]
    assert adopted.files["parts.json"] == made.used["validate"].files["parts.json"]
    assert (
        adopted.record.payload["code"]["tasks.validate:validate"]
        != made.used["validate"].record.payload["code"]["tasks.validate:validate"]
    )


@pytest.mark.parametrize(
    ("change", "step", "says"),
    [
        (lambda p: None, "train", "train is fresh: there is nothing to adopt"),
        (lambda p: None, "evaluate", "there is no step 'evaluate'"),
        (lambda p: edit_score(p), "score", "--because is empty"),
        (lambda p: p.set(THRESHOLD), "score", "not only code or libraries changed: config.hallucination_threshold"),
        (lambda p: (edit_score(p), p.set(THRESHOLD)), "score", "not only code or libraries changed"),
        (lambda p: p.edit("prompt.jinja", "Answer:", "Reply:"), "build", "changed: input template"),
        (lambda p: p.set("build.seed=1"), "train", "train needs build"),
        (lambda p: (p.artifact("train") / "report.md").unlink(), "train", "report.md is gone; its code did not change"),
    ],
)
def test_adopting_is_refused_with_the_reason(project, change, step, says):
    change(project)
    before = stale(project)
    with pytest.raises(UserError) as error:
        adopt(project.plan(), step, "" if "empty" in says else BECAUSE)
    assert says in error.value.what
    assert error.value.remedy
    assert stale(project) == before


def test_what_is_harmed_cannot_be_adopted(project, made):
    store = project.own_store()
    edit_score(project)
    (store / f"score/{made.used['score base'].key[:16]}/summary.json").unlink()
    with pytest.raises(UserError, match="cannot be adopted: summary.json is gone"):
        adopt(project.plan(), "score", BECAUSE)
    assert set(stale(project)) == {"score base", "score tuned", "gate", "report"}  # neither


def test_what_was_never_made_cannot_be_adopted(project, tmp_path):
    project.store = tmp_path / "empty"
    with pytest.raises(UserError, match="validate: the store has no earlier artifact"):
        adopt(project.plan(), "validate", BECAUSE)


# Why

# What runs anew when a row of the evaluation goes.
ALL_BUT_TRAINING = (
    "validate evaluation",
    "build",
    *(f"{step} {system}" for step in ("answer", "score") for system in ("base", "tuned")),
    "gate",
    "report",
)


def test_why_follows_a_reason_back_to_the_edit_behind_it_and_ends_where_the_store_ends(project):
    store = project.own_store()
    project.lines("evaluation.jsonl", lambda rows: rows[:-1])
    made = run(project, *ALL_BUT_TRAINING)
    cause = why(made["score base"])
    assert set(cause.inputs) == {"rows", "answers"}
    build = cause.inputs["rows"]
    assert build.label == "build"
    asked = build.inputs["evaluation"]
    assert asked.label == "validate evaluation"
    (change,) = asked.why.changes
    assert (change.kind, change.name, change.rows_added, change.rows_removed) == ("input", "rows", 0, 1)
    assert asked.before != asked.artifact
    assert "rows" not in build.inputs  # the training rows are as they were
    shown = printed(display.why, cause)
    for text in (
        made["score base"].about,
        "input answers changed ← answer/",
        made["build"].about,
        "rows +0 −1",
    ):
        assert text in shown
    assert shown.count("rows +0 −1") == 2  # of the evaluation rows and of the build; then "as above"
    assert "as above" in shown
    assert orjson.loads(cause.model_dump_json())["inputs"]["answers"]["label"] == "answer base"
    for manifest in (store / "validate").glob("*/manifest.json"):
        manifest.unlink()
    cause = why(project.config.open_store().match("build"))
    assert cause.inputs == {}
    assert [(each.name, each.rows_removed) for each in cause.why.changes] == [("evaluation", 1)]


# Lineage


def test_lineage_reaches_the_files_and_the_base(project, made):
    found = lineage(made.used["report"])
    names = {node.name for node in found.nodes}
    assert {made.used[label].about for label in made.used} <= names
    assert {"train.jsonl", "evaluation.jsonl", "base", "prompt.jinja"} <= names
    edges = {(each.source, each.target): each.inputs for each in found.edges}
    assert edges[made.used["build"].about, made.used["train"].about] == ("train", "heldout")
    assert edges["train.jsonl", made.used["validate"].about] == ("rows",)
    assert found.chain == ()


def test_lineage_is_drawn_as_a_tree_that_shows_each_artifact_once(made):
    shown = printed(display.lineage, lineage(made.used["report"]))
    assert shown.splitlines()[0].startswith(made.used["report"].about)
    assert shown.count("train.jsonl") == 1
    assert shown.count(f"{made.used['build'].about} build, made") >= 3
    assert "as above" in shown


def test_lineage_is_drawn_as_a_flow_chart(made):
    lines = wording.mermaid(lineage(made.used["train"])).splitlines()
    assert lines[0] == "flowchart LR"
    train = made.used["train"].key[:16]
    assert f'  n0["train<br/>{train}"]' in lines
    assert any('[("train.jsonl")]' in line for line in lines)
    assert any("-->|train, heldout| n0" in line for line in lines)


def test_lineage_says_what_is_no_longer_in_the_store(project, made):
    store = project.own_store()
    (store / made.used["validate"].about / "manifest.json").unlink()
    found = lineage(project.config.open_store().match(made.used["build"].key))
    assert [node.name for node in found.nodes if not node.in_store] == [made.used["validate"].about]
    assert "no longer in the store" in printed(display.lineage, found)


def test_lineage_tells_a_chain_of_warm_starts_with_its_length():
    edges = [
        ("train/c", "export/c", "training"),
        ("train/b", "train/c", "start"),
        ("build/a", "train/c", "train"),
        ("train/a", "train/b", "start"),
        ("build/a", "train/b", "train"),
        ("build/a", "train/a", "train"),
    ]
    names = ("export/c", "train/c", "train/b", "train/a", "build/a")
    found = Lineage(
        artifact="export/c",
        nodes=tuple(Node(name=name, label=name.partition("/")[0]) for name in names),
        edges=tuple(Edge(source=source, target=target, inputs=(name,)) for source, target, name in edges),
    )
    assert found.chain == ("train/a", "train/b", "train/c")
    assert "3 trainings, each from the one before: train/a → train/b → train/c" in printed(display.lineage, found)


# The terminal


@pytest.fixture
def reground(project, monkeypatch, capsys):
    def run(*words: str) -> tuple[int, str, str]:
        (project.scratch / "run.yaml").write_text("name: tiny\n")
        config = [] if words[0] in ("plan", "adopt") else ["--config"]
        settings = [word for each in project.words for word in ("-s", each)]
        monkeypatch.setattr(sys, "argv", ["reground", *words, *config, str(project.scratch / "run.yaml"), *settings])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


def test_plan_exits_with_1_if_a_step_would_run_and_it_was_asked_to(project, reground):
    code, out, _ = reground("plan", "--exit-code")
    assert (code, "All 11 steps are fresh: nothing would run." in out) == (0, True)
    project.set("report.examples=5")
    assert reground("plan")[0] == 0
    code, out, _ = reground("plan", "--exit-code")
    assert code == 1
    assert "config.examples 10 → 5" in out
    assert "1 of 11 steps is stale: about" in out
    project.set("report.exmaples=5")
    assert reground("plan", "--exit-code")[0] == 2


def test_plan_for_machines_has_all_that_is_known(project, reground, made):
    project.set("train.seed=1")
    steps = {step["label"]: step for step in orjson.loads(reground("plan", "--json")[1])}
    took = made.used["train"].record.seconds
    (change,) = steps["train"]["why"]["changes"]
    assert [change[name] for name in ("kind", "name", "before", "after")] == ["config", "seed", 42, 1]
    assert steps["train"] | {"key": ""} == {
        "label": "train",
        "step": "train",
        "status": "stale",
        "why": steps["train"]["why"],
        "seconds": took,
        "gpu_seconds": 0.0,
        "key": "",
    }
    assert steps["validate"]["key"] == made.used["validate"].key
    assert (steps["export"]["status"], steps["export"]["key"]) == ("waits", None)


def test_adopt_why_lineage_and_show_in_the_terminal(project, reground, made):
    project.own_store()
    edit_score(project)
    code, out, _ = reground("adopt", "score base", "--because", BECAUSE)
    assert code == 0
    assert f"adopted from {made.used['score base'].about}" in out
    for command in ("show", "why", "lineage"):
        assert BECAUSE in " ".join(reground(command, "score")[1].split())
    code, _, err = reground("adopt", "score base", "--because", BECAUSE)
    assert code == 2
    assert "nothing to adopt" in err
    assert reground("lineage", "score", "--mermaid")[1].startswith("flowchart LR")
    assert orjson.loads(reground("lineage", "score", "--json")[1])["artifact"].startswith("score/")
    assert orjson.loads(reground("why", "score", "--json")[1])["adopted"]["because"] == BECAUSE


def test_what_only_moved_to_another_file_is_adopted_in_one_command_and_needs_no_reason(project, reground, made):
    project.own_store()
    (project / "tasks/evaluation/statistics.py").rename(project / "tasks/evaluation/intervals.py")
    for path in (project / "tasks").rglob("*.py"):
        path.write_text(path.read_text().replace("tasks.evaluation.statistics", "tasks.evaluation.intervals"))
    moved = stale(project)
    assert {"score base", "score tuned"} <= set(moved)
    code, out, _ = reground("adopt", "moved")
    assert code == 0
    assert all(f"adopted from {made.used[label].about}" in out for label in moved)
    assert reground("plan", "--exit-code")[0] == 0
    assert "proven: the same code in other files" in " ".join(reground("show", "score")[1].split())
    edit_score(project)
    assert reground("adopt", "moved")[:2] == (0, ""), "an edit is not proven to change nothing"
    assert reground("plan", "--exit-code")[0] == 1
