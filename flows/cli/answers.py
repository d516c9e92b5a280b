"""Triplets, questions and answers that one brings along: checked, asked, scored."""

from pathlib import Path
from typing import Annotated

import typer

from flows import settings
from flows.cli import tables as display
from flows.cli.options import Overrides, console
from flows.config import TINY, load
from tasks.engine.errors import UserError


def validate(
    source: Annotated[str, typer.Argument(help="A JSONL file (.gz, .zst too), a folder of them, or a glob.")],
    config: Annotated[Path | None, typer.Option(help="Take the rules' thresholds from this file.")] = None,
    overrides: Overrides = None,
) -> None:
    """Check triplets, and say for each rejected row which rule, which value and what to do."""
    from flows.sources import triplets
    from tasks.engine.key import Request
    from tasks.engine.make import make
    from tasks.engine.record import Reason
    from tasks.validate import validate as step

    tree = load(config, overrides or ())
    request = Request(step, tree.validation, {"rows": triplets(source)}, "validate")
    artifact, _ = make(request, tree.open_store(), why=Reason(note="asked by reground validate"))
    display.markdown(console, artifact.folder / "report.md")
    for name in ("rows", "quarantine.jsonl"):
        console.print(artifact.folder / name, soft_wrap=True)


def score_answers(
    source: Annotated[str, typer.Argument(help="JSONL of {query, context, answer[, reference, should_abstain, id]}.")],
    out: Annotated[Path | None, typer.Option(help="Write the lines here instead of to the standard output.")] = None,
    refusal: Annotated[str | None, typer.Option(help="The fixed sentence that refuses, if there is one.")] = None,
) -> None:
    """Score answers from anywhere: one line of JSON for each with every metric, and a table of means.

    The same as functions of Python: `tasks.evaluation.metrics.plain`.
    """
    from flows.scoring import score_file, show

    show(score_file(source, out, refusal))


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
