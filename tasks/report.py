"""report: what the gate decided and all that speaks for it; as a page, as Markdown, as JSON, and in the model card."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field

from tasks.engine import Config, step
from tasks.engine.errors import UserError
from tasks.evaluation.answers import answered, first_refusal
from tasks.evaluation.gating.compare import require_same_rows
from tasks.evaluation.gating.decision import Decision
from tasks.evaluation.metrics.scores import Scores
from tasks.judges.agreement import LABELLED
from tasks.reporting.feedback import Failure, doubtful, learnt_from
from tasks.reporting.outcomes import OUTCOMES, UNKNOWN, counted, outcomes, reading_order
from tasks.reporting.page import evaluation_section, html, markdown
from tasks.reporting.rendering import render, templates
from tasks.reporting.sections import abstention, layers, read_training
from tasks.reporting.slices import by_slice
from tasks.text import LANGUAGE_FILES, TEXT_LIBRARIES


class ReportSettings(Config):
    """How the comparison of base and tuned is shown."""

    examples: int = Field(10, ge=0, description="How many of the answers that are not good to show with their context.")
    answers: int = Field(
        2_000, ge=0, description="How many answers the page's table holds, those that are not good first."
    )
    reference_support: float = Field(
        0.48, ge=0, le=1, description="Support under which an evaluation row's own reference answer is in doubt."
    )
    resamples: int = Field(10_000, ge=100, description="Bootstrap resamples of the source documents, for the slices.")
    seed: int = Field(0, description="Seed of the bootstrap.")


class Evaluated(Config):
    """An adapter from anywhere, what it is an adapter of, and what stands in the place of the adapter in service."""

    adapter: str
    base: str
    against: str | None = None
    in_service: bool = False  # whether that is the adapter in service


class ReportConfig(ReportSettings):
    """Filled in by the flow: what was evaluated, if that was not trained here."""

    evaluated: Evaluated | None = None


@step(
    libraries=("jinja2", "numpy", "pyarrow", *TEXT_LIBRARIES, "scipy"),
    resources=(*templates("report"), LABELLED, *LANGUAGE_FILES),
)
def report(
    config: ReportConfig,
    *,
    rows: Path,
    base_answers: Path,
    tuned_answers: Path,
    base_scores: Path,
    tuned_scores: Path,
    base_shots_answers: Path | None = None,
    base_shots_scores: Path | None = None,
    champion_answers: Path | None = None,
    champion_scores: Path | None = None,
    gate: Path,
    slices: Path | None = None,
    base_slices: Path | None = None,
    tuned_slices: Path | None = None,
    judge: Path | None = None,
    source: Path | None = None,
    training: Path | None = None,
    adapter: Path | None = None,
    out: Path,
) -> None:
    """Show two systems' answers and scores on the same rows, and the gate's decision.

    All inputs are the steps' output folders; `source` has the validated training rows, `base_slices` and `tuned_slices`
    the scores on the rows of `slices`. Answers and scores of the champion, and of the base with examples in its prompt,
    come together, or neither. Writes report.json (everything, for machines), report.html (self-contained), report.md,
    and, with an exported `adapter`, model-card.md: its card with a section on this evaluation. Raises UserError if
    rows, answers and scores do not belong together.
    """
    inputs = {name: folder for name, folder in locals().items() if isinstance(folder, Path) and name != "out"}
    known = ("base", "base_shots", "champion", "tuned")
    systems = {name: inputs[f"{name}_scores"] for name in known if f"{name}_scores" in inputs}
    scores = {name: Scores.read(folder / "scores.arrow") for name, folder in systems.items()}
    for name in scores:
        require_same_rows(scores["base"], scores[name], (base_scores, systems[name]))
    base, tuned = scores["base"], scores["tuned"]
    gated = Decision.read(gate / "gate.json").model_dump(mode="json")
    compared = gated["comparisons"]["base"]
    unanswerable = base.columns["should_abstain"]
    judged = orjson.loads((judge / "judge.json").read_bytes()) if judge else None
    content = {
        "about": _about(config.evaluated, adapter, source, gate),
        "evaluated": config.evaluated.model_dump() if config.evaluated else None,
        "headline": gated["why"],
        "tries": gated["tries"],
        "forgetting": gated["forgetting"],
        "decision": gated["decision"],
        "outcomes": counted(scores),
        "verdicts": gated["verdicts"],
        "comparisons": gated["comparisons"],
        "rows": len(base.ids),
        "documents": len(set(base.documents)),
        "refusal": first_refusal(rows),
        "unanswerable": int(unanswerable.sum()),
        "abstention": abstention(compared, share=float(unanswerable.mean())),
        "training": read_training(training),
        "slices": _slices(config, base, tuned, slices, base_slices, tuned_slices),
        "judge": judged,
        "layers": layers(judged),
        "doubtful": doubtful(rows, threshold=config.reference_support, most=config.examples),
        "settings": config.model_dump(exclude={"evaluated"}) | {"gate": gated["settings"]},
        "made_from": {name.replace("_", " "): _artifact_name(folder) for name, folder in inputs.items()},
        **_read_answers(
            config,
            rows,
            {name: inputs[f"{name}_answers"] for name in systems},
            scores,
            [each["id"] for each in gated["flips"]],
            source,
        ),
    }
    content["sentence"] = render("report/sentence.md.jinja", report=content).strip()
    content["warnings"] = render("report/warnings.md.jinja", report=content).strip().splitlines()
    (out / "report.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    (out / "report.md").write_text(markdown(content), encoding="utf-8")
    (out / "report.html").write_text(html(content), encoding="utf-8")
    if adapter:
        (out / "model-card.md").write_text(_card(adapter) + evaluation_section(content), encoding="utf-8")


def _slices(
    config: ReportConfig,
    base: Scores,
    tuned: Scores,
    slices: Path | None,
    base_slices: Path | None,
    tuned_slices: Path | None,
) -> list[dict[str, Any]] | None:
    """Both systems' figures on each slice, and the passages it added to a question; None without slices."""
    if not slices or not base_slices or not tuned_slices:
        return None
    scores = (Scores.read(folder / "scores.arrow") for folder in (base_slices, tuned_slices))
    made = orjson.loads((slices / "report.json").read_bytes())["slices"]
    return [
        {**entry, **{name: made[entry["name"]][name] for name in ("added", "added_share")}}
        for entry in by_slice(base, tuned, *scores, resamples=config.resamples, seed=config.seed)
    ]


def _read_answers(
    config: ReportConfig,
    rows: Path,
    answers: dict[str, Path],
    scores: dict[str, Scores],
    flips: Collection[str],
    source: Path | None,
) -> dict[str, Any]:
    """One pass over the texts: the answers to show in the order to read them, and the failures' training rows.

    `answers` lists {id, document, query, reference, language, unanswerable, lost}, and for each system {answer,
    outcome, support}; the first `mistakes.shown` of them have their context besides. `lost`: it is one of the
    gate's flips, which `mistakes.against`, the champion or else the base, had right, or rightly refused.
    """
    against = "champion" if "champion" in scores else "base"
    order, lost, bad = reading_order(scores["tuned"], flips)
    in_full = min(config.examples, bad)
    place = {number: at for at, number in enumerate(order[: max(config.answers, in_full)])}
    became = {name: outcomes(each) for name, each in scores.items()}
    shown: list[dict[str, Any]] = [{} for _ in place]
    failed: dict[int, Failure] = {}
    given = [answered(rows, folder / "answers.arrow") for folder in answers.values()]
    for number, each in enumerate(zip(*given, strict=True)):
        at = place.get(number)
        if at is None:
            continue
        row = each[0][0]
        shown[at] = {
            **{"id": row.id, "document": row.document, "query": row.query, "reference": row.answer},
            **{"language": row.language, "unanswerable": row.refusal, "lost": at < lost},
            **({"context": list(row.context)} if at < in_full else {}),
            **{
                name: {
                    "answer": said.text,
                    "outcome": (*OUTCOMES, UNKNOWN)[became[name][number]],
                    "support": _known(scores[name].columns["faithfulness"][number]),
                }
                for name, (_, said) in zip(scores, each, strict=True)
            },
        }
        if at < in_full:
            failed[at] = Failure(row, shown[at]["tuned"]["answer"])
    return {
        "answers": shown,
        "mistakes": {"against": against, "lost": lost, "bad": bad, "shown": in_full},
        "learnt_from": learnt_from([failed[at] for at in sorted(failed)], source) if source else None,
    }


def _known(value: float) -> float | None:
    return None if value != value else round(float(value), 6)


def _about(evaluated: Evaluated | None, adapter: Path | None, source: Path | None, gate: Path) -> dict[str, str | None]:
    """Which adapter, base and data this is about, and the day of the decision, by the artifacts' records."""
    exported, decided, validated = (_record(folder) if folder else {} for folder in (adapter, gate, source))
    config = exported.get("config", {})
    data = (validated.get("inputs") or {}).get("rows") or {}
    return {
        "adapter": _artifact_name(adapter) if adapter else evaluated.adapter if evaluated else None,
        "base": evaluated.base
        if evaluated
        else " ".join(filter(None, (config.get("base_model"), config.get("base_revision")))) or None,
        "data": data.get("about") or None,
        "day": decided.get("made_at", "")[:10] or None,
    }


def _card(adapter: Path) -> str:
    """The adapter's card as `export` wrote it, in the exported folder or in the adapter within."""
    for card in (adapter / "adapter" / "README.md", adapter / "README.md"):
        if card.is_file():
            return card.read_text(encoding="utf-8").rstrip() + "\n\n"
    raise UserError(f"{adapter} holds no model card", "give the folder that `export` wrote")


def _artifact_name(folder: Path) -> str | None:
    """The artifact in a folder, as the store names it (`score/3f2a…`); None if the folder is not in a store."""
    record = _record(folder)
    return f"{record['step']}/{record['key'][:16]}" if record else None


def _record(folder: Path) -> dict[str, Any]:
    for file in (folder / "record.json", folder.parent / "record.json"):  # the folder may be a part of an artifact
        if file.is_file():
            found: dict[str, Any] = orjson.loads(file.read_bytes())
            return found
    return {}
