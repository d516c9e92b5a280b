"""report: what the gate decided and all that speaks for it; as a page, as Markdown, as JSON, and in the model card."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field

from tasks.data.triplets import Triplet
from tasks.engine import Config, step
from tasks.engine.errors import UserError
from tasks.evaluation.answers import Answer, answered, first_refusal
from tasks.evaluation.gating.compare import require_same_rows
from tasks.evaluation.gating.decision import Decision
from tasks.evaluation.metrics.scores import Scores
from tasks.reporting.examples import choose, describe, failures, quality
from tasks.reporting.feedback import Failure, doubtful, learnt_from
from tasks.reporting.figures import summary
from tasks.reporting.page import evaluation_section, html, markdown
from tasks.reporting.rendering import templates
from tasks.reporting.sections import abstention, areas, histogram, read_training, refusals
from tasks.reporting.slices import by_slice
from tasks.text import LANGUAGE_FILES, TEXT_LIBRARIES, words


class ReportConfig(Config):
    """How the comparison of base and tuned is shown."""

    examples: int = Field(10, ge=0, description="How many of the worst and of the best answers to show.")
    reference_support: float = Field(
        0.48, ge=0, le=1, description="Support under which an evaluation row's own reference answer is in doubt."
    )
    resamples: int = Field(10_000, ge=100, description="Bootstrap resamples of the source documents, for the slices.")
    seed: int = Field(0, description="Seed of the bootstrap.")


@step(
    libraries=("jinja2", "numpy", "pyarrow", *TEXT_LIBRARIES, "scipy"),
    resources=(*templates("report"), *LANGUAGE_FILES),
)
def report(
    config: ReportConfig,
    *,
    rows: Path,
    base_answers: Path,
    tuned_answers: Path,
    base_scores: Path,
    tuned_scores: Path,
    gate: Path,
    slices: Path | None = None,
    base_slices: Path | None = None,
    tuned_slices: Path | None = None,
    judge: Path | None = None,
    source: Path | None = None,
    training: Path,
    adapter: Path,
    out: Path,
) -> None:
    """Show two systems' answers and scores on the same rows, and the gate's decision.

    All inputs are the steps' output folders; `source` has the validated training rows, `base_slices` and `tuned_slices`
    the scores on the rows of `slices`. Writes report.json (everything, for machines), report.html (self-contained),
    report.md, and model-card.md: the card of the exported `adapter` with a section on this evaluation. Raises UserError
    if rows, answers and scores do not belong together.
    """
    inputs = {name: folder for name, folder in locals().items() if isinstance(folder, Path) and name != "out"}
    base, tuned = Scores.read(base_scores / "scores.arrow"), Scores.read(tuned_scores / "scores.arrow")
    require_same_rows(base, tuned, (base_scores, tuned_scores))
    gated = Decision.read(gate / "gate.json").model_dump(mode="json")
    compared = gated["comparisons"]["base"]
    found_areas = areas(compared, base, tuned)
    content = {
        "headline": gated["why"],
        "decision": gated["decision"],
        "verdicts": gated["verdicts"],
        "comparisons": gated["comparisons"],
        "summaries": {
            against: summary(metrics, against) for against, metrics in gated["comparisons"].items() if metrics
        },
        "rows": len(base.ids),
        "documents": len(set(base.documents)),
        "refusal": first_refusal(rows),
        "unanswerable": int(base.columns["should_abstain"].sum()),
        "abstention": abstention(compared, share=float(base.columns["should_abstain"].mean())),
        "refusals": refusals({"base": base, "tuned": tuned}),
        "training": read_training(training),
        "slices": _slices(config, base, tuned, slices, base_slices, tuned_slices),
        "judge": orjson.loads((judge / "judge.json").read_bytes()) if judge else None,
        "doubtful": doubtful(rows, threshold=config.reference_support, most=config.examples),
        "settings": config.model_dump() | {"gate": gated["settings"]},
        "made_from": {name.replace("_", " "): _artifact_name(folder) for name, folder in inputs.items()},
        **_read_answers(config, found_areas, _joined(rows, base_answers, tuned_answers), base, tuned, source),
    }
    (out / "report.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    (out / "report.md").write_text(markdown(content), encoding="utf-8")
    (out / "report.html").write_text(html(content), encoding="utf-8")
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
    areas: list[dict[str, Any]],
    joined: Iterator[tuple[Triplet, Answer, Answer]],
    base: Scores,
    tuned: Scores,
    source: Path | None,
) -> dict[str, Any]:
    """One pass over the texts: the lengths of all answers, the rows shown in full, and the failures' training rows."""
    worst, best = choose(base, tuned, config.examples)
    failed = failures(tuned, config.examples) if source else []
    gain = quality(tuned) - quality(base)
    wanted = {*worst, *best, *failed, *(area["row"] for area in areas)}
    lengths: dict[str, list[int]] = {"base": [], "tuned": [], "reference": []}
    examples: dict[int | None, dict[str, Any]] = {}
    texts: dict[int, Failure] = {}
    for number, (row, by_base, by_tuned) in enumerate(joined):
        for name, text in (("base", by_base.text), ("tuned", by_tuned.text), ("reference", row.answer)):
            lengths[name].append(len(words(text, row.language)))
        if number in wanted:
            examples[number] = describe(row, number, (by_base.text, base), (by_tuned.text, tuned)) | {
                "gain": round(float(gain[number]), 6)
            }
            texts[number] = Failure(row, by_tuned.text)
    return {
        "lengths": histogram(lengths),
        "worst": [examples[number] for number in worst],
        "best": [examples[number] for number in best],
        "areas": [{**area, "example": examples.get(area["row"])} for area in areas],
        "learnt_from": learnt_from([texts[number] for number in failed], source) if source else None,
    }


def _joined(rows: Path, base: Path, tuned: Path) -> Iterator[tuple[Triplet, Answer, Answer]]:
    by_base, by_tuned = (answered(rows, each / "answers.arrow") for each in (base, tuned))
    for (row, first), (_, second) in zip(by_base, by_tuned, strict=True):
        yield row, first, second


def _card(adapter: Path) -> str:
    """The adapter's card as `export` wrote it, in the exported folder or in the adapter within."""
    for card in (adapter / "adapter" / "README.md", adapter / "README.md"):
        if card.is_file():
            return card.read_text(encoding="utf-8").rstrip() + "\n\n"
    raise UserError(f"{adapter} holds no model card", "give the folder that `export` wrote")


def _artifact_name(folder: Path) -> str | None:
    """The artifact in a folder, as the store names it (`score/3f2a…`); None if the folder is not in a store."""
    for file in (folder / "record.json", folder.parent / "record.json"):  # the folder may be a part of an artifact
        if file.is_file():
            record = orjson.loads(file.read_bytes())
            return f"{record['step']}/{record['key'][:16]}"
    return None
