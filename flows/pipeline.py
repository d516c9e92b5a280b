"""The retraining pipeline on one page: what each step is made from.

`run` decides what a call does. As `TaskRunner` it runs the step as a Prefect task, as `Planner` it tells whether the
step would run. The wiring is the same, so a plan cannot disagree with a run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypedDict, TypeVar

from flows.config import Retrain
from flows.sources import (
    Incumbent,
    WarmStart,
    base_model,
    best_so_far,
    champion,
    earlier_start,
    incumbent,
    pinned,
    template,
    tries,
    triplets,
)
from tasks.answer import AnswerConfig, answer
from tasks.build import BuildConfig, build
from tasks.engine import Config, Step, progress
from tasks.engine.errors import UserError, WiringError
from tasks.engine.inputs import HubModel, Input, Local, Output
from tasks.engine.plan import Pending, Planner
from tasks.engine.storage.store import Artifact, Store
from tasks.evaluation.metrics import METRICS
from tasks.export import ExportConfig, export
from tasks.gate import GateConfig, GateRules, gate
from tasks.judge import judge
from tasks.report import report
from tasks.score import score
from tasks.shots import ShotsConfig, shots
from tasks.slices import SlicesConfig, slices
from tasks.train import train
from tasks.validate import validate

OutputT = TypeVar("OutputT", bound=Output)
RunT = TypeVar("RunT", bound=Output, covariant=True)


class Run(Protocol[RunT]):
    """Checks a call of a step against the step's signature, and the parts that are taken against those declared."""

    store: Store

    def __call__(self, step: Step, config: Config, *, label: str = "", **inputs: Input | None) -> RunT:
        """Make the step's artifact, or say what would be made; `label` names the call for people."""


@dataclass(frozen=True)
class Outcome(Generic[OutputT]):
    """What a retraining leaves: the adapter ready to serve, what it is worth, and whether it may be promoted."""

    adapter: OutputT
    gate: OutputT
    report: OutputT


class TrainingInputs(TypedDict):
    """What `build` is made from."""

    rows: Input
    evaluation: Input | None
    base: Local | HubModel
    template: Local | None


def pipeline(config: Retrain, run: Run[OutputT]) -> Outcome[OutputT]:
    """validate → build → train → export → answer → score → gate → slices → judge → report."""
    base = base_model(config.base)
    prompt = template(config.prompt)

    valid = run(validate, config.validated, rows=triplets(config.data.train))
    held_back = None
    if config.data.evaluation:
        asked = run(validate, config.validated, label="validate evaluation", rows=triplets(config.data.evaluation))
        held_back = asked["rows"]
    sources: TrainingInputs = {"rows": valid["rows"], "evaluation": held_back, "base": base, "template": prompt}
    dataset, trained = _trained(config, run, sources, _warm_start(config, run, sources))
    exported = run(export, _export(config, base), training=trained, rows=valid["rows"], base=base, template=prompt)

    # One artifact each, so that a new adapter never has the base answer again.
    questions = dataset["evaluation"]
    answer_inputs: dict[str, Input | None] = {"rows": questions, "base": base, "template": prompt}
    base_answers = run(answer, config.answering, label="answer base", **answer_inputs, adapter=None)
    tuned_answers = run(answer, config.answering, label="answer tuned", **answer_inputs, adapter=trained["adapter"])
    base_scores = run(score, config.score, label="score base", rows=questions, answers=base_answers)
    tuned_scores = run(score, config.score, label="score tuned", rows=questions, answers=tuned_answers)

    shipped_scores = None
    if config.parity.enabled:
        shipped = run(answer, _shipped(config), label="answer shipped", **answer_inputs, adapter=trained["adapter"])
        shipped_scores = run(score, config.score, label="score shipped", rows=questions, answers=shipped)

    # The adapter in service answers the same questions, from its own base and by its own template.
    served = incumbent(run.store, exported, base, prompt)
    by_champion = champion_scores = None
    if served and served.inputs:
        its = config.answering.model_copy(update={"prompt": served.prompt})
        by_champion = run(answer, its, label="answer champion", rows=questions, **served.inputs)
        champion_scores = run(score, config.score, label="score champion", rows=questions, answers=by_champion)
    best = best_so_far(run.store, exported, base, prompt, config.gate.best_in)
    best_scores = _best_scores(config, run, questions, best)

    # A fair opponent: the base with solved examples in its prompt.
    by_shots = shots_scores = None
    if config.answer.shots:
        solved = run(shots, ShotsConfig(shots=config.answer.shots), rows=questions, examples=valid["rows"])
        by_shots = run(answer, config.answering, label="answer base shots", **answer_inputs, adapter=None, shots=solved)
        shots_scores = run(score, config.score, label="score base shots", rows=questions, answers=by_shots)

    must_hold = pinned(config.gate.must_hold)
    decided = run(
        gate,
        _gate(config, served, best, tries(run.store, exported, questions)),
        base_scores=base_scores,
        tuned_scores=tuned_scores,
        base_shots_scores=shots_scores,
        champion_scores=champion_scores,
        shipped_scores=shipped_scores,
        best_correct_scores=best_scores.get("correct"),
        best_abstention_f1_scores=best_scores.get("abstention_f1"),
        must_hold=must_hold,
        rows=questions if must_hold else None,
    )

    # Beside the decision: how the answers stand harder questions, and what other models think of them.
    sliced = base_sliced = tuned_sliced = None
    if config.slices.enabled:
        sliced = run(slices, _slices(config), rows=questions, base=base, template=prompt)
        answer_inputs |= {"rows": sliced["rows"]}
        by_base = run(answer, config.answering, label="answer slices base", **answer_inputs, adapter=None)
        by_tuned = run(
            answer, config.answering, label="answer slices tuned", **answer_inputs, adapter=trained["adapter"]
        )
        base_sliced = run(score, config.score, label="score slices base", rows=sliced["rows"], answers=by_base)
        tuned_sliced = run(score, config.score, label="score slices tuned", rows=sliced["rows"], answers=by_tuned)
    judged_inputs: dict[str, Input] = {"rows": questions, "base_answers": base_answers, "tuned_answers": tuned_answers}
    judged = _judge(config, run, **judged_inputs, base=base if config.judge.base.enabled else None)

    compared = run(
        report,
        config.report,
        rows=questions,
        base_answers=base_answers,
        tuned_answers=tuned_answers,
        base_scores=base_scores,
        tuned_scores=tuned_scores,
        base_shots_answers=by_shots,
        base_shots_scores=shots_scores,
        champion_answers=by_champion,
        champion_scores=champion_scores,
        gate=decided,
        training=trained,
        adapter=exported,
        source=valid["rows"],
        slices=sliced,
        base_slices=base_sliced,
        tuned_slices=tuned_sliced,
        judge=judged,
    )
    return Outcome(exported, decided, compared)


def planned(config: Retrain) -> tuple[Planner, Outcome[Artifact | Pending]]:
    """What a run of this config would do, and what it would leave; runs nothing."""
    planner = Planner(config.open_store(), config.name)
    return planner, pipeline(config, planner)


def _trained(
    config: Retrain, run: Run[OutputT], sources: TrainingInputs, warm: WarmStart | None
) -> tuple[OutputT, OutputT]:
    """build → train, from the base or from where a warm start goes on."""
    asked = BuildConfig(**dict(config.build), prompt=config.prompt.told)
    dataset = run(build, asked, **sources, known=warm.dataset if warm else None)
    start = warm.adapter if warm else None
    trained = run(
        train, config.train, train=dataset["train"], heldout=dataset["heldout"], base=sources["base"], start=start
    )
    return dataset, trained


def _warm_start(config: Retrain, run: Run[OutputT], sources: TrainingInputs) -> WarmStart | None:
    """The champion. If it was made by this very training, what that went on from: so a rerun finds all as it was."""
    if config.train.start == "base":
        return None
    served = champion(run.store)
    before = earlier_start(run.store, served)
    if before:
        _, trained = _trained(config, Planner(run.store), sources, before)
        if isinstance(trained, Artifact) and trained.key == served.adapter.key:
            return before
    return served


def _export(config: Retrain, base: Local | HubModel) -> ExportConfig:
    """The base by a name that means the same on every machine: where its folder is here is not in the key."""
    folder = "" if isinstance(base, HubModel) else str(base.path.resolve())
    name, commit = (base.name, base.commit) if isinstance(base, HubModel) else (Path(folder).name, None)
    return ExportConfig(
        base=config.export.base or name,
        commit=commit,
        base_folder=folder,
        license=config.export.license,
        max_new_tokens=config.answer.max_new_tokens,
        prompt=config.prompt.told,
    )


def _shipped(config: Retrain) -> AnswerConfig:
    """Answered as it is served: the adapter merged into whole weights."""
    merged = {"quantization": "none", "compute_dtype": config.parity.compute_dtype}
    model = config.answer.model.model_copy(update=merged)
    return config.answering.model_copy(update={"merge": True, "model": model})


def _slices(config: Retrain) -> SlicesConfig:
    """As long as the rows themselves may be."""
    room = {"max_tokens": config.build.max_tokens, "answer_room": config.build.answer_room}
    return SlicesConfig(
        rows_per_slice=config.slices.rows_per_slice, salt=config.slices.salt, prompt=config.prompt.told, **room
    )


def _judge(config: Retrain, run: Run[OutputT], **inputs: Input | None) -> OutputT | None:
    """What the judges say, if any is on; None if they cannot: they must not hold up a promotion."""
    if not config.judge.on:
        return None
    try:
        return run(judge, config.judge, label="judge", **inputs, **config.judge.models())
    except WiringError:
        raise
    except UserError as error:
        progress.say(f"judge: {error}. The report goes without; the next run asks again.")
        return None


def _best_scores(
    config: Retrain, run: Run[OutputT], questions: Input, best: dict[str, Incumbent]
) -> dict[str, OutputT]:
    """Scores of the best so far by metric; an adapter that is the best in several answers once."""
    scores: dict[str, OutputT] = {}
    made: list[tuple[Incumbent, OutputT]] = []
    for metric, each in best.items():
        if not each.inputs:
            continue
        known = next((found for other, found in made if _adapter(other) == _adapter(each)), None)
        if known is None:
            label = f"best in {METRICS[metric].label.lower()}"
            its = config.answering.model_copy(update={"prompt": each.prompt})
            answers = run(answer, its, label=f"answer {label}", rows=questions, **each.inputs)
            known = run(score, config.score, label=f"score {label}", rows=questions, answers=answers)
            made.append((each, known))
        scores[metric] = known
    return scores


def _adapter(each: Incumbent) -> str | None:
    adapter = each.inputs["adapter"] if each.inputs else None
    return adapter.digest if adapter else None


def _gate(config: Retrain, served: Incumbent | None, best: dict[str, Incumbent], tries: int) -> GateConfig:
    rules = {name: getattr(config.gate, name) for name in GateRules.model_fields}
    best_missing = next((each.missing for each in best.values() if each.missing), None)
    missing = {"champion_missing": served.missing if served else None, "best_missing": best_missing}
    return GateConfig(**rules, **missing, tries=tries)
