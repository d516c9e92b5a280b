"""One frozen tree of the steps' configs: a YAML file and the Prefect run form are the same thing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, Field, PositiveInt, ValidationError, model_validator

from flows.promotion.decisions import PromotionConfig
from flows.settings import Address, StoreConfig, slug, vllm, vllm_version
from tasks.answer import AnswerConfig, Answering, AnswerSettings
from tasks.build import BuildSettings
from tasks.compose import RecipeSettings
from tasks.data.forms import RowFormat
from tasks.engine import NOT_A_PATH, RUNTIME, Config, PathSetting, Text
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError, did_you_mean, redacted
from tasks.export import ExportSettings
from tasks.gate import GateRules
from tasks.ingest import IngestConfig
from tasks.judge import JudgeConfig
from tasks.prompts import PromptConfig
from tasks.report import ReportSettings
from tasks.score import ScoreConfig
from tasks.synthesis.teacher import TeacherConfig
from tasks.training.config import TrainConfig
from tasks.validate import ValidateConfig, ValidateSettings

TINY = ROOT / "deployments/configs/tiny.yaml"  # what runs when no other config is named: the sample


def _shipped(path: str | None) -> str | None:
    """The sample's own place, where somebody works in a folder without it."""
    ours = ROOT / path if path else None
    return str(ours) if path and ours and not Path(path).exists() and ours.exists() else path


SHIPPED = AfterValidator(_shipped)
ROWS = PathSetting(files=True)
FOLDER_OR_HUB = PathSetting(lambda value, config: Path(value).exists())
NAME_OR_FILE = PathSetting(lambda value, config: value.endswith(".jinja"))


class DataConfig(RowFormat):
    """Where the triplets are: a file (JSON lines or an array, CSV, Parquet, Arrow, packed or not), a folder, a glob."""

    train: Annotated[str, ROWS, SHIPPED] = Field(
        "data/plant/train.jsonl", description="Triplets to train on.", validate_default=True
    )
    evaluation: Annotated[str | None, ROWS, SHIPPED] = Field(
        "data/plant/evaluation.jsonl",
        validate_default=True,
        description="Triplets to evaluate on; without it a share of the training documents is held back.",
    )
    max_lost: Annotated[float, RUNTIME] = Field(
        0.5,
        ge=0,
        le=1,
        description="Stop before training if more than this share of the rows or of the documents that the champion "
        "(without one, the last run) was trained on is gone. 1: never.",
    )


class BaseConfig(Config):
    """The base model: a folder, or a name on the Hugging Face hub."""

    model: Annotated[str, FOLDER_OR_HUB, SHIPPED] = Field(
        "data/tiny-base",
        validate_default=True,
        description="A folder, or a hub name such as mistralai/Mistral-7B-v0.3.",
    )
    revision: Text = Field(
        "main", description="Branch, tag or commit on the hub, resolved to a commit; a folder has none."
    )


class PromptSettings(PromptConfig):
    """How a row is put to the model: the turns of a chat, rendered by its chat template."""

    template: Annotated[str, NAME_OR_FILE] = Field(
        "chat",
        description="chat: the base model's own chat template; plain: for a base without one; or the path of a chat "
        "template (.jinja).",
    )

    @property
    def told(self) -> PromptConfig:
        """What steps are told; the template is an input of theirs."""
        return PromptConfig(**{name: getattr(self, name) for name in PromptConfig.model_fields})


class ParityConfig(Config):
    """Scoring what ships beside what was trained: the adapter merged into the base, which is not quantized."""

    enabled: bool = Field(True, description="Answer and score the evaluation rows once more, as they are served.")
    compute_dtype: Literal["bfloat16", "float16", "float32"] = Field(
        "bfloat16", description="The dtype that the merged model is served in."
    )


class HarderConfig(Config):
    """Slices of the evaluation questions, each harder in one respect, as the report shows them; they do not gate."""

    enabled: bool = Field(True, description="Have base and tuned answer them.")
    rows_per_slice: PositiveInt = Field(
        10,
        description="Most questions of a slice. With 10, answering the sample's slices costs about half of what its "
        "plain evaluation does, and shows only what breaks; intervals of ±.10 take some 100, of ±.05 some 400.",
    )
    salt: Text = Field("reground", description="Another salt chooses other questions, passages and values.")


class GateSettings(GateRules):
    """The gate's rules, and the questions that must hold."""

    must_hold: str | None = Field(
        None,
        description='A JSONL file of evaluation questions, by "id" or "query", that each promoted adapter must answer '
        "rightly; `reground pin` adds those that got lost.",
    )


class SynthesizeConfig(Config):
    """How `reground synthesize` makes triplets of documents; a retraining does not read it."""

    passages: IngestConfig = IngestConfig()
    per_passage: PositiveInt = Field(6, description="Questions that the offline writer takes from a passage, at most.")
    teacher: TeacherConfig = TeacherConfig()
    recipe: RecipeSettings = RecipeSettings()


class Retrain(StoreConfig):
    """All settings of a retraining run."""

    name: Text = Field("tiny", description="What to call this run; it changes no result.")
    runner: Annotated[Literal["threads", "processes", "dask", "ray"], RUNTIME] = Field(
        "threads", description="What the rows' pieces of work are spread over; it changes no result."
    )
    runner_address: Annotated[Address | None, RUNTIME, NOT_A_PATH] = Field(
        None,
        description="For dask and ray: a cluster that runs already; without it one is started on this machine.",
    )
    workers: Annotated[PositiveInt | None, RUNTIME] = Field(
        None, description="How many run at once; without it as many as there are cores."
    )
    data: DataConfig = DataConfig()
    base: BaseConfig = BaseConfig()
    prompt: PromptSettings = PromptSettings()
    validation: ValidateSettings = Field(ValidateSettings(), alias="validate", description="Rules for the rows.")
    build: BuildSettings = BuildSettings()
    train: TrainConfig = TrainConfig()
    export: ExportSettings = ExportSettings()
    answer: AnswerSettings = AnswerSettings()
    score: ScoreConfig = ScoreConfig()
    parity: ParityConfig = ParityConfig()
    gate: GateSettings = GateSettings()
    slices: HarderConfig = HarderConfig()
    judge: JudgeConfig = JudgeConfig()
    report: ReportSettings = ReportSettings()
    promotion: PromotionConfig = PromotionConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()

    @property
    def validated(self) -> ValidateConfig:
        """What `validate` is asked: the rules, and how the rows are read."""
        form = RowFormat(format=self.data.format, fields=self.data.fields)
        return ValidateConfig(**dict(self.validation), form=form)

    @property
    def answering(self) -> AnswerConfig:
        """What `answer` is asked, with examples before the questions or without."""
        asked = self.answer.model_dump(include=set(Answering.model_fields), exclude={"model"})
        return AnswerConfig(**asked, **self._engine(), model=self.answer.model, prompt=self.prompt.told)

    def _engine(self) -> dict[str, str]:
        """What answers: vLLM by its version and its place, or nothing that is to be said."""
        whole = self.answer.model.quantization == "none" and not self.answer.merge
        if self.answer.engine == "transformers" or (self.answer.engine == "auto" and not (whole and vllm())):
            return {}
        return {"engine": "vllm", "engine_version": vllm_version(), "program": vllm() or ""}

    @model_validator(mode="before")
    @classmethod
    def _has_a_project(cls, given: Any) -> Any:
        """That of the config's name, unless it says another."""
        if not isinstance(given, dict) or given.get("project"):
            return given
        name = given.get("name", cls.model_fields["name"].default)
        return given | {"project": slug(name)} if isinstance(name, str) else given

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "Retrain":
        if self.runner_address and self.runner in ("threads", "processes"):
            raise ValueError(
                f"runner_address is for dask and ray, and runner is {self.runner}; leave it out, or set runner"
            )
        if self.answer.engine == "vllm" and (self.answer.model.quantization != "none" or self.answer.merge):
            raise ValueError(
                "answer.engine vllm answers with the adapter beside whole weights; set answer.model.quantization to "
                "none and answer.merge to false"
            )
        if not self.answer.shots and any(rule.against == "base_shots" for rule in self.gate.rules):
            raise ValueError("a rule of the gate is against base_shots, and answer.shots is 0; set it to 4, say")
        return self


def load(path: Path | None, overrides: Sequence[str] = ()) -> Retrain:
    """Read a config file and apply overrides such as ``train.lora.r=8``, whose values are YAML.

    A file may name one that it `extends`. Without a file every default holds. Raises UserError with the nearest known
    name for an unknown field, and with the line for bad YAML.
    """
    return _changed(_read(path) if path else {}, overrides, path)


def change(config: Retrain, overrides: Sequence[str]) -> Retrain:
    """The config with overrides as `load` takes them, and refuses them."""
    return _changed(config.model_dump(mode="json", by_alias=True), overrides, None)


def _changed(tree: dict[str, Any], overrides: Sequence[str], path: Path | None) -> Retrain:
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"cannot read the setting {override!r}", "write it as name=value, e.g. train.lora.r=8")
        *parents, leaf = name.strip().split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UserError(f"{parent!r} in {override!r} is a value, not a section", "leave out what follows it")
        try:
            place[leaf] = yaml.safe_load(text)
        except yaml.YAMLError:  # a sentence or a template: text as it stands
            place[leaf] = text
    try:
        return Retrain.model_validate(tree)
    except ValidationError as error:
        raise _explained(error, path) from None


def _read(path: Path, extended: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's settings, merged over those of the file that its `extends` names, a path relative to its folder."""
    if path.resolve() in extended:
        raise UserError(f"{path}: extends itself", "remove one `extends` of the circle")
    tree = _parse(path)
    base = tree.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise UserError(f"{path}: extends: {base!r} is not a path", "name one file, such as base/one-gpu.yaml")
    return _merged(_read(path.parent / base, (*extended, path.resolve())), tree)


def _merged(base: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `tree`: sections merge, anything else, lists included, replaces."""
    for name, value in tree.items():
        below = base.get(name)
        base[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return base


def _parse(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        near = sorted(map(str, TINY.parent.glob("*.yaml")))
        raise UserError(f"there is no config file {path}", f"ready-made ones: {', '.join(near)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise UserError(f"{path}{line}: not YAML: {problem}", "mend that line; indentation is two spaces") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected sections such as `train:`, found {tree!r}", "see deployments/configs/")
    return tree


def _explained(error: ValidationError, path: Path | None) -> UserError:
    """Each mistake on a line of its own, with its dotted name and the nearest name there is."""
    lines = []
    for each in error.errors():
        name = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            known = _fields_at(each["loc"][:-1])
            lines.append(f"{name}: no such setting; {did_you_mean(str(each['loc'][-1]), known)}")
        elif not name:  # of settings that do not go together
            lines.append(redacted(each["msg"].removeprefix("Value error, ")))
        else:
            lines.append(redacted(f"{name}: {each['msg']}, not {each['input']!r}"))
    where = f"{path}: " if path else ""
    return UserError(where + "\n  ".join(lines), "`reground config` prints every setting with its default")


def _fields_at(location: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Retrain
    for part in location:
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        model = field.annotation
    return [field.alias or name for name, field in model.model_fields.items()]
