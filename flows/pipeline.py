"""The retraining pipeline on one page: what each step is made from.

`run` decides what a call does. As `TaskRunner` it runs the step as a Prefect task, as `Planner` it tells whether the
step would run. The wiring is the same, so a plan cannot disagree with a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypedDict, TypeVar

from flows.adapters import Candidate
from flows.config import Retrain
from flows.lost import require_kept
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
from tasks.prompts import PromptConfig
from tasks.report import Evaluated, ReportConfig, report
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
    sources = _sources(config, run)
    valid, base, prompt = sources["rows"], sources["base"], sources["template"]
    dataset, trained = _trained(config, run, sources, _warm_start(config, run, sources))
    exported = run(export, _export(config, base), training=trained, rows=valid, base=base, template=prompt)

    # One artifact each, so that a new adapter never has the base answer again.
    questions = dataset["evaluation"]
    by_it: dict[str, Input | None] = {"base": base, "template": prompt}
    by_tuned = by_it | {"adapter": trained["adapter"]}
    base_answers, base_scores = answered(config, run, "base", questions, by_it | {"adapter": None})
    tuned_answers, tuned_scores = answered(config, run, "tuned", questions, by_tuned)

    shipped_scores = trained_scores = None
    if config.parity.enabled and config.answering.engine == "vllm":  # which answers as it is served
        _, trained_scores = answered(config, run, "trained", questions, by_tuned, _as_trained(config))
    elif config.parity.enabled:
        _, shipped_scores = answered(config, run, "shipped", questions, by_tuned, _shipped(config))

    # The adapter in service answers the same questions, from its own base and by its own template.
    served = incumbent(run.store, exported, base, prompt)
    champion_answers = champion_scores = None
    if served and served.inputs:
        champion_answers, champion_scores = answered(
            config, run, "champion", questions, served.inputs, by_prompt(config, served.prompt)
        )
    best = best_so_far(run.store, exported, base, prompt, config.gate.best_in)
    best_scores = _best_scores(config, run, questions, best)

    # A fair opponent: the base with solved examples in its prompt.
    shots_answers = shots_scores = None
    if config.answer.shots:
        solved = run(shots, ShotsConfig(shots=config.answer.shots), rows=questions, examples=valid)
        shots_answers, shots_scores = answered(
            config, run, "base shots", questions, by_it | {"adapter": None, "shots": solved}
        )

    must_hold = pinned(config.gate.must_hold)
    decided = run(
        gate,
        _gate(config, served, best, tries(run.store, exported, questions)),
        base_scores=base_scores,
        tuned_scores=tuned_scores,
        base_shots_scores=shots_scores,
        champion_scores=champion_scores,
        shipped_scores=shipped_scores,
        trained_scores=trained_scores,
        best_correct_scores=best_scores.get("correct"),
        best_abstention_f1_scores=best_scores.get("abstention_f1"),
        must_hold=must_hold,
        rows=questions if must_hold else None,
    )

    # Beside the decision: how the answers stand harder questions, and what other models think of them.
    sliced = base_sliced = tuned_sliced = None
    if config.slices.enabled:
        sliced = run(slices, _slices(config), rows=questions, base=base, template=prompt)
        _, base_sliced = answered(config, run, "slices base", sliced["rows"], by_it)
        _, tuned_sliced = answered(config, run, "slices tuned", sliced["rows"], by_tuned)
    judged_inputs: dict[str, Input] = {"rows": questions, "base_answers": base_answers, "tuned_answers": tuned_answers}
    judged = _judge(config, run, **judged_inputs, base=base if config.judge.base.enabled else None)

    compared = run(
        report,
        _report(config),
        rows=questions,
        base_answers=base_answers,
        tuned_answers=tuned_answers,
        base_scores=base_scores,
        tuned_scores=tuned_scores,
        base_shots_answers=shots_answers,
        base_shots_scores=shots_scores,
        champion_answers=champion_answers,
        champion_scores=champion_scores,
        gate=decided,
        training=trained,
        adapter=exported,
        source=valid,
        slices=sliced,
        base_slices=base_sliced,
        tuned_slices=tuned_sliced,
        judge=judged,
    )
    return Outcome(exported, decided, compared)


def evaluation(config: Retrain, run: Run[OutputT], adapter: Candidate, against: Candidate | None) -> OutputT:
    """answer → score → gate → report of an adapter from anywhere, on the questions that this config asks.

    `against` takes the place of the adapter in service.
    """
    sources = _sources(config, run)
    questions = _dataset(config, run, sources, _warm_start(config, run, sources))["evaluation"]
    base_inputs: dict[str, Input | None] = {"base": sources["base"], "template": sources["template"], "adapter": None}
    systems = {
        "base": answered(config, run, "base", questions, base_inputs),
        "tuned": answered(config, run, "adapter", questions, adapter.inputs, by_prompt(config, adapter.prompt)),
    }
    if against:
        asked = by_prompt(config, against.prompt)
        systems["champion"] = answered(config, run, "against", questions, against.inputs, asked)
    scores = {f"{name}_scores": scored for name, (_, scored) in systems.items()}
    must_hold = pinned(config.gate.must_hold)
    held: dict[str, Input | None] = {"must_hold": must_hold, "rows": questions} if must_hold else {}
    decided = run(gate, _gate(config, None, {}), label="gate", **scores, **held)
    answers = {f"{name}_answers": given for name, (given, _) in systems.items()}
    told = Evaluated(
        adapter=adapter.about,
        base=sources["base"].about,
        against=against.about if against else None,
        in_service=bool(against and against.in_service),
    )
    return run(report, _report(config, told), label="report", rows=questions, **answers, **scores, gate=decided)


def planned(config: Retrain) -> tuple[Planner, Outcome[Artifact | Pending]]:
    """What a run of this config would do, and what it would leave; runs nothing."""
    planner = Planner(config.open_store(), config.name)
    return planner, pipeline(config, planner)


def answered(
    config: Retrain,
    run: Run[OutputT],
    who: str,
    questions: Input,
    inputs: Mapping[str, Input | None],
    asked: AnswerConfig | None = None,
) -> tuple[OutputT, OutputT]:
    """answer → score: what somebody answers to the questions, and the scores."""
    answers = run(answer, asked or config.answering, label=f"answer {who}", rows=questions, **inputs)
    return answers, run(score, config.score, label=f"score {who}", rows=questions, answers=answers)


def by_prompt(config: Retrain, prompt: PromptConfig | None) -> AnswerConfig:
    """Answered by another prompt than the config's."""
    return config.answering.model_copy(update={"prompt": prompt}) if prompt else config.answering


def _sources(config: Retrain, run: Run[OutputT]) -> TrainingInputs:
    """validate, and what else `build` is made from."""
    base, prompt = base_model(config.base), template(config.prompt)
    valid = run(validate, config.validated, rows=triplets(config.data.train))
    held_back = None
    if config.data.evaluation:
        asked = run(validate, config.validated, label="validate evaluation", rows=triplets(config.data.evaluation))
        held_back = asked["rows"]
    return {"rows": valid["rows"], "evaluation": held_back, "base": base, "template": prompt}


def _trained(
    config: Retrain, run: Run[OutputT], sources: TrainingInputs, warm: WarmStart | None
) -> tuple[OutputT, OutputT]:
    """build → train, from the base or from where a warm start goes on."""
    dataset = _dataset(config, run, sources, warm)
    if isinstance(dataset, Artifact) and not isinstance(run, Planner):
        require_kept(run.store, dataset, name=config.name, most=config.data.max_lost)
    start = warm.adapter if warm else None
    trained = run(
        train, config.train, train=dataset["train"], heldout=dataset["heldout"], base=sources["base"], start=start
    )
    return dataset, trained


def _dataset(config: Retrain, run: Run[OutputT], sources: TrainingInputs, warm: WarmStart | None) -> OutputT:
    asked = BuildConfig(**dict(config.build), prompt=config.prompt.told, loss_on=config.train.loss_on)
    return run(build, asked, **sources, known=warm.dataset if warm else None)


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


def _as_trained(config: Retrain) -> AnswerConfig:
    """Answered as the adapter was trained: by transformers, on the base as training held it."""
    own = {"engine": "transformers", "engine_version": None, "program": None, "model": config.train.model}
    return config.answering.model_copy(update=own)


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
            who = f"best in {METRICS[metric].label.lower()}"
            _, known = answered(config, run, who, questions, each.inputs, by_prompt(config, each.prompt))
            made.append((each, known))
        scores[metric] = known
    return scores


def _adapter(each: Incumbent) -> str | None:
    adapter = each.inputs["adapter"] if each.inputs else None
    return adapter.digest if adapter else None


def _report(config: Retrain, evaluated: Evaluated | None = None) -> ReportConfig:
    return ReportConfig(**dict(config.report), evaluated=evaluated)


def _gate(config: Retrain, served: Incumbent | None, best: dict[str, Incumbent], tries: int = 0) -> GateConfig:
    rules = {name: getattr(config.gate, name) for name in GateRules.model_fields}
    best_missing = next((each.missing for each in best.values() if each.missing), None)
    missing = {"champion_missing": served.missing if served else None, "best_missing": best_missing}
    return GateConfig(**rules, **missing, tries=tries)
