"""Rows, answers and questions from anywhere: check them, score them, ask them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from flows import settings
from flows.cli import tables as display
from flows.cli.options import Overrides, console, write_json
from flows.config import TINY, Retrain, load
from tasks.engine.errors import UserError
from tasks.text.language import AUTO

if TYPE_CHECKING:
    from tasks.engine.storage.store import Artifact


def validate(
    source: Annotated[
        str, typer.Argument(help="JSON lines or array, CSV, Parquet or Arrow, packed too; a folder or a glob.")
    ],
    config: Annotated[Path | None, typer.Option(help="Take the rules' thresholds from this file.")] = None,
    overrides: Overrides = None,
    json: Annotated[
        bool, typer.Option("--json", help="For machines, a line per row: file, line, id, verdict and findings.")
    ] = False,
) -> None:
    """Check triplets, and say for each rejected row which rule, which value and what to do.

    With --json, a line of JSON for each row, in order: {"file": text, "line": number, "id": text, or null where a
    malformed row names none, "verdict": "accepted" or "rejected", "findings": [{"rule": text, "level": "reject" or
    "warn", "value": text or number, "remedy": text}, …]}. Findings of accepted rows are warnings.

    Exits with 0, or with 2 if too many rows are rejected or none is left.
    """
    from flows.sources import triplets
    from tasks.data.examine import verdicts
    from tasks.engine.key import Request
    from tasks.engine.make import make
    from tasks.engine.record import Reason
    from tasks.validate import validate as step

    tree, rows = load(config, overrides or ()), triplets(source)
    if json:
        for verdict in verdicts(rows.paths, tree.validated.by_row):
            typer.echo(verdict.model_dump_json())
    request = Request(step, tree.validated, {"rows": rows}, "validate")
    artifact, _ = make(request, tree.open_store(), why=Reason(note="asked by reground validate"))
    if not json:
        display.markdown(console, artifact.folder / "report.md")
        for name in ("rows", "quarantine.jsonl"):
            console.print(artifact.folder / name, soft_wrap=True)


def synthesize(
    source: Annotated[
        Path,
        typer.Argument(help="A folder of documents (Markdown, PDF, HTML, DOCX, …), one of them, or a JSONL of texts."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSONL of triplets to write, or to bring up to date.")],
    config: Annotated[
        Path, typer.Option(help="The config whose language, refusal, tokenizer and `synthesize` to use.")
    ] = TINY,
    overrides: Overrides = None,
) -> None:
    """Write triplets from documents: ingest → draft → compose → validate, each document once.

    Without a model the questions are taken from sentences, `Name: value` lines and tables, in their own words. A
    teacher writes better ones: `-s synthesize.teacher.model=NAME -s synthesize.teacher.endpoint.url=http://…/v1`,
    within `synthesize.teacher.budget`.

    Run again when documents have changed: only their rows are written anew. A row that you edited or deleted in the
    file stays so; one that you edited whose passage changed since is named.
    """
    settings.for_terminal()
    from flows import synthesis
    from flows.adapters import Direct

    tree = load(config, overrides or ())
    direct = Direct(tree.open_store(), display.on_step(console))
    made = synthesis.synthesize(tree, source, out, direct, console.print)
    direct.store.log_fresh_run(f"synthesize {source}", direct.made)
    display.synthesized(console, made, synthesis.merge(out, made), out)


def review(
    file: Annotated[Path, typer.Argument(help="A JSONL of {query, context, answer}, as `synthesize` writes it.")],
    by: Annotated[str, typer.Option(help="Who decides; each reviewer has a file of decisions.")] = "",
    order: Annotated[
        Literal["risk", "file"], typer.Option(help="What the rules find and what is new first, or the file's order.")
    ] = "risk",
    apply: Annotated[
        bool, typer.Option("--apply", help="Write all decisions into the file: edits in, rejected rows out.")
    ] = False,
    port: Annotated[int, typer.Option(help="0: any free one.")] = 0,
    config: Annotated[Path, typer.Option(help="The config whose rules to show.")] = TINY,
    overrides: Overrides = None,
) -> None:
    """Accept, edit or reject rows in a browser, by keyboard, a row a screen; Ctrl-C ends it.

    The page is for this machine alone, and its address has a token. A decision is on the disk before the next row is
    shown, in FILE.reviews/NAME.jsonl, which git can merge. `--apply` writes them into the data; rows on which reviewers
    disagree, and rows that changed since, stay and are named.
    """
    from getpass import getuser

    from flows.review.decisions import Decisions, apply_decisions, read_rows

    decisions, rows = Decisions(file, by or getuser()), read_rows(file)
    if apply:
        display.applied(console, apply_decisions(file, decisions), decisions.agreement(), file)
        return
    from flows.review.page import Review, serve

    serve(Review(file, rows, decisions, load(config, overrides or ()), order), port, console.print)
    console.print(f"{len(decisions.own):,} decided; `reground review {file} --apply` writes them into the file")


def score(
    source: Annotated[str, typer.Argument(help="JSONL of {query, context, answer[, reference, should_abstain, id]}.")],
    out: Annotated[Path | None, typer.Option(help="Write the lines here instead of to the standard output.")] = None,
    refusal: Annotated[str | None, typer.Option(help="The fixed sentence that refuses, if there is one.")] = None,
    language: Annotated[
        str | None, typer.Option(help="ISO 639-1 code of the rows that name none; without it: told from the texts.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Score answers from anywhere: one line of JSON for each with every metric, and a table of means.

    Other names of fields: `-s data.format=ragas`, or `-s 'data.fields={query: question, answer: prediction}'`; what
    the format calls the right answer is the reference where a row has a response beside it.

    The same as functions of Python: `tasks.evaluation.metrics.plain`.
    """
    from flows.scoring import score_file, show

    asked = load(None, overrides or ()).validated
    code = language or (None if asked.language == AUTO else asked.language)
    show(score_file(source, out, refusal or asked.refusal, code, asked.form))


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    context: Annotated[list[Path], typer.Option("--context", "-c", help="A text file: one passage. May be repeated.")],
    config: Annotated[Path, typer.Option(help="The config whose base model and adapter to ask.")] = TINY,
    adapter: Annotated[
        str | None,
        typer.Option(
            help="An adapter by key, alias or role; without it this config's own, else the champion, else the newest."
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Answer a question from passages, with the base model and with the tuned one, side by side."""
    settings.for_terminal()
    tree = load(config, overrides or ())
    passages = [_text(path) for path in context]
    tuned = _adapter(tree, adapter)

    from flows.sources import base_model, prompt_of
    from tasks.answer import generate
    from tasks.models.model import attach_adapter, load_frozen
    from tasks.prompts import Asked

    folder = base_model(tree.base).local()
    prompt, asked = prompt_of(tree, folder), [Asked(passages, question)]
    room = {"max_new_tokens": tree.answer.max_new_tokens, "thought_tokens": tree.answer.thought_tokens}
    model = load_frozen(folder, tree.answer.model)
    (by_base,) = generate(model, prompt, asked, **room)
    (by_tuned,) = generate(attach_adapter(model, tuned.folder / "adapter"), prompt, asked, **room)
    console.print(display.side_by_side(question, by_base.text, by_tuned.text, tuned.about))


def evaluate(
    adapter: Annotated[str, typer.Argument(help="A PEFT folder, org/name[@revision] on the hub, or a key or alias.")],
    against: Annotated[
        str | None, typer.Option(help="champion, or another adapter; without it, the base model alone.")
    ] = None,
    config: Annotated[Path, typer.Option(help="The config whose questions, base model and gate to use.")] = TINY,
    overrides: Overrides = None,
) -> None:
    """Evaluate an adapter from anywhere: answer → score → gate → report, on this config's evaluation questions.

    A bundle answers by its own prompt, any other adapter by the config's. What was answered before is taken from the
    store. Nothing is promoted.
    """
    settings.for_terminal()
    from flows.adapters import Direct, candidate
    from flows.pipeline import evaluation

    tree = load(config, overrides or ())
    asked, other = candidate(tree, adapter), candidate(tree, against) if against else None
    direct = Direct(tree.open_store(), display.on_step(console))
    folder = evaluation(tree, direct, asked, other).folder
    direct.store.log_fresh_run(f"evaluate {asked.about}", direct.made)
    display.comparison(console, orjson.loads((folder / "report.json").read_bytes()), folder)
    console.print("That is what the gate would decide; nothing was promoted.")


def render(
    source: Annotated[
        str | None, typer.Argument(help="Rows, as `validate` reads them. Without it those of data.train.")
    ] = None,
    row: Annotated[int, typer.Option(min=1, help="Which row, counted from 1.")] = 1,
    config: Annotated[Path, typer.Option(help="The config whose base model and prompt to use.")] = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
) -> None:
    """Show a row as the model sees it: its turns, the text that the chat template makes of them, and its tokens.

    What is trained on is marked. Training, answering, `ask` and the exported chat template give these tokens; that they
    agree is checked.
    """
    from itertools import islice

    from flows.sources import base_model, prompt_of, triplets
    from tasks.data.forms import parse
    from tasks.data.parsing import Malformed, loads
    from tasks.data.readers import read_lines
    from tasks.models.model import load_tokenizer

    tree = load(config, overrides or ())
    folder = base_model(tree.base).local()
    prompt, tokenizer = prompt_of(tree, folder), load_tokenizer(folder)
    lines = (line for path in triplets(source or tree.data.train).paths for line in read_lines(path))
    line = next(islice(lines, row - 1, None), None)
    if line is None:
        raise UserError(f"there is no row {row} in {source or tree.data.train}", "give a lower --row")
    try:
        read = parse(loads(line[1]), tree.validated.form).row
    except Malformed as error:
        raise UserError(f"row {row}: {error.value}", error.remedy) from None
    asked, learnt = prompt.encode(read.asked, read.answer or prompt.turns.refusal(read.language))
    tokenizer.chat_template = prompt.chat_template
    documents = prompt.turns.documents(read.asked)
    served = tokenizer.apply_chat_template(
        prompt.turns.messages(read.asked), documents=documents, add_generation_prompt=True, return_dict=False
    )
    if served != asked:
        raise RuntimeError("the exported chat template renders other tokens than training")
    if json:
        turns = {"messages": prompt.turns.messages(read.asked), "text": prompt.render(read.asked)}
        write_json(turns | {"notes": prompt.notes, "prompt_ids": asked, "completion_ids": learnt})
    else:
        display.prompt(console, prompt.notes, asked, learnt, tokenizer)


def _adapter(config: Retrain, key: str | None) -> "Artifact":
    """The adapter named by `key`, else the one that this config makes, else the champion, else the newest."""
    from flows.pipeline import planned
    from flows.promotion.candidates import find, roles

    store = config.open_store()
    own = None if key else planned(config)[0].artifacts.get("export")
    if key or (own is None and "champion" in roles(store)):
        found: Artifact | None = find(store, key or "champion")
    else:
        found = own or next(reversed(store.all("export")), None)
    if found is None:
        raise UserError(f"there is no adapter in {store.url} yet", "train one with `reground retrain`")
    if found.step not in ("export", "train"):
        raise UserError(f"{found.about} is no adapter", "give the key of a train or export artifact")
    return found


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
