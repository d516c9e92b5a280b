"""`reground …`: the terminal's door. Imports nothing heavy, so that `plan` answers in under a second."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
import yaml
from rich.console import Console
from rich.markup import escape

from flows import display, settings
from flows.config import TINY, Retrain, load
from tasks.errors import UserError

if TYPE_CHECKING:
    from tasks.versioning.plan import Planner
    from tasks.versioning.store import Store

app = typer.Typer(
    help="Retraining for RAG answerers that reruns only what changed.\n\n"
    "Try `reground plan` to see what would run and why, `reground retrain` to run it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
# A pipe or a log file has no width; tables that are cut to 80 columns are no use there.
console = Console(width=None if sys.stdout.isatty() else 100)

ConfigFile = Annotated[
    Path,
    typer.Argument(help="A YAML file, see deployments/configs/. Without one: the tiny sample.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override one setting, e.g. `-s train.lora.r=8`. May be repeated."),
]
WhichArtifact = Annotated[str, typer.Argument(help="A key or its first digits, or a step: its newest artifact.")]
WhichStore = Annotated[Path, typer.Option("--config", help="The config whose store to look in.")]


def _store(config: Path, overrides: Sequence[str] | None) -> "Store":
    return load(config, overrides or ()).open_store()


@app.command()
def retrain(config: ConfigFile = TINY, overrides: Overrides = None) -> None:
    """Run what is stale: validate → build → train → export → answer → score → gate → report → promote.

    A step whose data, config, code and libraries are as they were is taken from the store. When all are, nothing
    is started, not even Prefect. The adapter goes into service if its gate says so and `promotion.mode` is auto.
    """
    from flows.pipeline import pipeline
    from flows.settle import settle
    from tasks.versioning.plan import Planner

    tree = load(config, overrides or ())
    planner = Planner(tree.open_store(), tree.name)
    outcome = pipeline(tree, planner)
    if planner.fresh:
        for step in planner.steps:
            display.step_done(console, step)
        planner.store.log_run(tree.name, planner.artifacts).end("completed")
        folder = outcome.report.folder
        settled = settle(planner.store, tree.promotion, outcome)
    else:
        folder, settled = _run_flow(tree)
    display.comparison(console, orjson.loads((folder / "report.json").read_bytes()), folder)
    console.print(settled, highlight=False)


def _run_flow(tree: Retrain) -> tuple[Path, str]:
    """Run the flow in this process, on the Prefect server that is configured or else an ephemeral one.

    Returns the report's folder and what became of the adapter.
    """
    settings.for_terminal()
    from flows.retrain import AND_SO, TELL
    from flows.retrain import retrain as flow

    def told(step: Any, done: bool) -> None:
        (display.step_done if done else display.step_starts)(console, step)

    TELL.set(told)
    state: Any = flow(tree, return_state=True)
    return Path(state.result()), state.message.partition(AND_SO)[2]


@app.command()
def plan(
    config: ConfigFile = TINY,
    overrides: Overrides = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="For machines: label, step, status, why, seconds, gpu_seconds and key per step."),
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if a step would run, like `git diff --exit-code`.")
    ] = False,
) -> None:
    """Say what would run, why, and what it will take by earlier records; run nothing.

    `fresh`: the artifact is there and whole. `stale`: the step will run. `waits`: an earlier step will run first;
    should that write the same bytes as before, and no other reason be named, this one stays as it is.

    Exits with 0, or with 2 for a mistake such as a misspelt setting; with `--exit-code` also with 1.
    """
    planner = _planned(load(config, overrides or ()))
    if json:
        _write_json([each.plain() for each in planner.steps])
    else:
        display.plan(console, planner.steps)
    if exit_code and not planner.fresh:
        raise typer.Exit(1)


def _planned(tree: Retrain) -> "Planner":
    from flows.pipeline import pipeline
    from tasks.versioning.plan import Planner

    planner = Planner(tree.open_store(), tree.name)
    pipeline(tree, planner)
    return planner


def _write_json(told: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


@app.command()
def adopt(
    step: Annotated[str, typer.Argument(help="A step as `reground plan` names it, or both of `answer` at once.")],
    because: Annotated[str, typer.Option(help="Why the change cannot change the output; it goes on the record.")],
    config: ConfigFile = TINY,
    overrides: Overrides = None,
) -> None:
    """Take over a step's artifact after a change of code or libraries that cannot change it, instead of running it.

    Refused if the config or an input changed as well. `reground show` and `why` tell of it ever after.
    """
    from tasks.versioning.adopt import adopt as take_over

    for artifact in take_over(_planned(load(config, overrides or ())), step, because):
        told = artifact.record["adopted"]
        console.print(f"{artifact.record['label']}: {artifact.about} adopted from {told['from']}", highlight=False)


@app.command()
def why(
    artifact: WhichArtifact,
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
) -> None:
    """Tell why an artifact was made: what had changed since the one before, and why that had, back to the source."""
    from tasks.versioning.why import why as explain

    cause = explain(_store(config, overrides).match(artifact))
    if json:
        _write_json(cause.plain())
    else:
        display.why(console, cause)


@app.command()
def lineage(
    artifact: WhichArtifact,
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="Nodes and edges, for machines.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="A flow chart for Markdown.")] = False,
) -> None:
    """Show everything that an artifact was made from, up to the files and the base model."""
    from tasks.versioning.lineage import lineage as trace

    told = trace(_store(config, overrides).match(artifact))
    if json:
        _write_json(told.plain())
    elif mermaid:
        print(told.mermaid())
    else:
        display.lineage(console, told)


@app.command()
def validate(
    source: Annotated[str, typer.Argument(help="A JSONL file (.gz, .zst too), a folder of them, or a glob.")],
    config: Annotated[Path | None, typer.Option(help="Take the rules' thresholds from this file.")] = None,
    overrides: Overrides = None,
) -> None:
    """Check triplets, and say for each rejected row which rule, which value and what to do."""
    from flows.sources import triplets
    from tasks.validate import validate as step
    from tasks.versioning.key import Request
    from tasks.versioning.make import make

    tree = load(config, overrides or ())
    request = Request(step, tree.validation, {"rows": triplets(source)}, "validate")
    artifact, _ = make(request, tree.open_store(), why=["asked by reground validate"])
    display.markdown(console, artifact.folder / "report.md")
    for name in ("rows", "quarantine.jsonl"):
        console.print(artifact.folder / name, soft_wrap=True)


@app.command("score")
def score_answers(
    source: Annotated[str, typer.Argument(help="JSONL of {query, context, answer[, reference, should_abstain, id]}.")],
    out: Annotated[Path | None, typer.Option(help="Write the lines here instead of to the standard output.")] = None,
    refusal: Annotated[str | None, typer.Option(help="The fixed sentence that refuses, if there is one.")] = None,
) -> None:
    """Score answers from anywhere: one line of JSON for each with every metric, and a table of means.

    The same as functions of Python: `tasks.metrics.plain`.
    """
    from flows.scoring import score_file, show

    show(score_file(source, out, refusal))


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    context: Annotated[list[Path], typer.Option("--context", "-c", help="A text file: one passage. May be repeated.")],
    config: Annotated[Path, typer.Option(help="The config whose base model and adapter to ask.")] = TINY,
    adapter: Annotated[
        str | None, typer.Option(help="An adapter by its key; without it the newest of this config.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Answer a question from passages, with the base model and with the tuned one, side by side."""
    from flows.ask import answers

    settings.for_terminal()
    tree = load(config, overrides or ())
    passages = [_text(path) for path in context]
    base, tuned, which = answers(tree, question, passages, adapter)
    console.print(display.side_by_side(question, base, tuned, which))


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", "give a text file with the passage to answer from") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}", "save it as UTF-8") from None
    if not text:
        raise UserError(f"{path} is empty", "put the passage to answer from into it")
    return text


@app.command()
def promote(
    adapter: Annotated[
        str | None, typer.Argument(help="Key or alias of an adapter. Without it: the challenger.", show_default=False)
    ] = None,
    because: Annotated[str, typer.Option(help="Why; without it the gate's own reason. It stays in the log.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Against the gate, or what was rolled back; say why.")] = False,
    mirror: Annotated[bool, typer.Option("--mirror", help="Only bring the MLflow registry up to date.")] = False,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Put an adapter into service, if its gate says so.

    It must be whole, and its gate must have compared it with the champion of now. `--force --because "…"` goes past
    the gate, on the record. Exits with 0 if the adapter is in service, with 2 if it was not promoted.
    """
    from flows.decide import promote as decide

    tree = load(config, overrides or ())
    store = tree.open_store()
    console.print("" if mirror else decide(store, adapter, because=because, force=force), highlight=False, end="")
    _mirror(tree, store, required=mirror)


@app.command()
def rollback(
    because: Annotated[str, typer.Option(help="Why; it stays in the log.")],
    adapter: Annotated[
        str | None, typer.Argument(help="The one to take out. Without it: the champion.", show_default=False)
    ] = None,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Take the champion out of service and bring back the adapter before it, at once.

    No retraining promotes it again; only `reground promote --force --because "…"` does. A second rollback goes one
    further back, and wants the name of the adapter that it takes out. Exits with 2 if nothing was changed.
    """
    from flows.decide import rollback as decide

    tree = load(config, overrides or ())
    store = tree.open_store()
    console.print(decide(store, adapter, because=because), highlight=False, end="")
    _mirror(tree, store)


def _mirror(tree: Retrain, store: "Store", *, required: bool = False) -> None:
    """Bring the MLflow registry up to date if the config names one, and end the line."""
    if tree.promotion.mlflow:
        from flows.registry import mirror, mirrored

        told = mirror(store, tree.promotion.mlflow) if required else mirrored(store, tree.promotion.mlflow)
        console.print(told, highlight=False, end="")
    elif required:
        raise UserError("promotion.mlflow names no registered model", "set it: `-s promotion.mlflow=NAME`")
    console.print()


@app.command()
def versions(
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the champions' gains over time.")] = None,
) -> None:
    """List the adapters by what became of them: which is in service, since when, by whose decision and why.

    `champion` is in service, `previous` comes back on a rollback, a `challenger` waits for a decision. Figures are
    changes against the champion of then. `reground artifacts` lists everything else.
    """
    from flows import served
    from flows.versions import versions as known

    store = _store(config, overrides)
    lines = known(store)
    if html:
        from tasks.reporting import history

        html.write_text(history.html([each.plain() for each in store.promotions.entries()]), encoding="utf-8")
    if json:
        _write_json([each.plain() for each in lines])
    else:
        served.versions(console, lines)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="An adapter, gate, report or scores, by key or alias; or `base`.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
) -> None:
    """Tell which metrics differ between two adapters, e.g. `reground compare previous champion`.

    From scores that are in the store, on the same questions; nothing is answered or scored for it. Exits with 2 if
    the two were never scored on the same questions.
    """
    from flows import served
    from flows.comparing import compare as compared

    told = compared(_store(config, overrides), first, second)
    if json:
        _write_json(told)
    else:
        served.comparison(console, told)


@app.command()
def artifacts(
    step: Annotated[str | None, typer.Argument(help="Only this step, e.g. train.", show_default=False)] = None,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """List the artifacts in the store, oldest first."""
    console.print(display.artifacts(_store(config, overrides).all(step)))


@app.command()
def show(
    artifact: WhichArtifact,
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The whole record, for machines.")] = False,
) -> None:
    """Tell how an artifact came to be: what it was made from, why, when, by whom, at what cost."""
    found = _store(config, overrides).match(artifact)
    if json:
        sys.stdout.buffer.write((found.folder / "record.json").read_bytes() + b"\n")
    else:
        display.record(console, found)


@app.command()
def alias(
    name: Annotated[str | None, typer.Argument(help="Such as baseline.", show_default=False)] = None,
    artifact: Annotated[
        str | None, typer.Argument(help="A key or its first digits, or a step: its newest artifact.")
    ] = None,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Give an artifact a name, or list the names.

    What has a name is kept by `reground gc`, with all that it was made from. champion, previous and challenger are
    named by `reground promote` and `rollback` alone.
    """
    store = _store(config, overrides)
    if name and artifact:
        found = store.match(artifact)
        store.point(name, found.step, found.key)
    console.print(display.aliases([each for known, each in sorted(store.aliases().items()) if name in (None, known)]))


@app.command()
def gc(
    older_than: Annotated[float, typer.Option(help="Days; whatever is younger stays.", min=0)] = 1,
    keep_runs: Annotated[int, typer.Option(help="How many of the newest runs keep what they used.", min=0)] = 10,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it. Without this, only say what would go.")] = False,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Free the space of what no alias, no adapter that may be served, no recent run and nothing young needs.

    It says of each thing why it stays or goes, and may run while other commands do.
    """
    from tasks.versioning.gc import DAY, collect

    store = _store(config, overrides)
    found = collect(store, older_than=older_than * DAY, keep_runs=keep_runs, delete=delete)
    display.collected(console, found, deleted=delete)


@app.command()
def fsck(config: WhichStore = TINY, overrides: Overrides = None) -> None:
    """Read every byte of the store, report each flaw, and mend what can be mended.

    Exits with 0 if all is whole, with 1 if all that was wrong is mended or taken out of use, else with 2.
    """
    from tqdm import tqdm

    from tasks.versioning.fsck import bytes_to_read, check

    store = _store(config, overrides)
    size = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    with tqdm(desc="fsck", total=bytes_to_read(store), file=sys.stderr, disable=None, leave=False, **size) as bar:
        findings = list(check(store, bar.update))
    display.findings(console, findings)
    raise typer.Exit(0 if not findings else 1 if all(finding.mended for finding in findings) else 2)


@app.command("config")
def show_config(config: ConfigFile = TINY, overrides: Overrides = None) -> None:
    """Print every setting as it stands, as YAML."""
    tree = load(config, overrides or ()).model_dump(mode="json", by_alias=True)
    print(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), end="")


def main() -> None:
    """Run a command; what the user can mend is told in two lines and exits with 2."""
    try:
        app()
    except UserError as error:
        told = f"[bold red]error:[/] {escape(str(error))}"
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
