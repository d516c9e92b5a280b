"""The adapter in service on vLLM servers that run: loaded, tried, and asked for from one instant on.

Every replica has an adapter under its own key, never under another's name, whose cached prefixes vLLM would use again.
It is tried with evaluation questions before clients are sent to it: vLLM serves an adapter whose layers it does not
know as the plain base model, in silence. Then one file is replaced, which the gateway reads at each request (see
deployments/gateway). The adapter before stays loaded: what is under way ends as it began, and a rollback is as quick.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, PositiveInt, ValidationError, model_validator

from flows.promotion import log as promotion_log
from flows.promotion.candidates import gate_of
from flows.serving.signing import require_signed
from flows.settings import Address
from tasks.engine import NOT_A_PATH, Config, Text
from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import SHORT, Artifact
from tasks.engine.storage.store import Store
from tasks.models.bundle import require_intact

if TYPE_CHECKING:
    from httpx import Client

PATIENCE = 300.0  # seconds that a server has to load an adapter, or to answer
ODD = 8  # of so many answers one may differ: where two tokens are equally likely, engines may take another


class ServingConfig(Config):
    """The vLLM servers that answer with the champion, which promotion and rollback bring up to date."""

    replicas: tuple[Annotated[Address, NOT_A_PATH], ...] = Field(
        (), description="Addresses of servers that `reground serve --swap` started; they see the store's folder."
    )
    alias: str | None = Field(
        None, description="The file that the gateway reads, which adapter is meant by `model`: see deployments/gateway."
    )
    model: Text = Field("answerer", description="What clients call the champion, whichever adapter it is.")
    public_key: str | None = Field(
        None,
        description="A PEM file: adapters that its private key did not sign, as they are, are neither promoted nor "
        "served. `reground sign`, or promotion.sign.",
    )
    questions: PositiveInt = Field(8, description="Evaluation questions that an adapter is tried with on each server.")

    @model_validator(mode="after")
    def _has_an_alias(self) -> "ServingConfig":
        if self.replicas and not self.alias:
            raise ValueError("serving.replicas need serving.alias, the file that their gateway reads")
        return self


class Alias(BaseModel, frozen=True):
    """What the gateway reads: `adapter`, the first digits of an export's key, is meant by `model`."""

    model: str
    adapter: str
    since: str  # ISO 8601, UTC


class Replica(BaseModel, frozen=True):
    """A server and the adapters that it has loaded, or why that is not known."""

    url: str
    adapters: tuple[str, ...] = ()
    error: str | None = None


class Served(BaseModel, frozen=True):
    """What the promotion log says is in service, what clients are sent to, and what the servers have."""

    champion: str | None
    alias: Alias | None
    replicas: tuple[Replica, ...]

    @property
    def agrees(self) -> bool:
        """Whether every server answers clients with the champion."""
        sent = self.alias.adapter if self.alias else None
        return sent == self.champion and all(not each.error and sent in each.adapters for each in self.replicas)


class Swapped(BaseModel, frozen=True):
    """What a swap did: the adapter that clients get now, and which servers could not be brought up to date, and why."""

    adapter: str
    failed: tuple[Replica, ...] = ()


class NotServed(UserError):
    """A server could not be brought up to date; clients get what they got before."""


def swap(store: Store, config: ServingConfig, *, partly: bool = False) -> Swapped | None:
    """Have the servers answer with the champion; None if clients get it already.

    NotServed if a server cannot be reached, or answers otherwise than the gate saw; with `partly`, as for a rollback,
    only if all are so.
    """
    log, before = promotion_log.read(store), served(store, config)
    champion, alias = log.state.champion, before.alias
    if champion is None or (before.agrees and alias and alias.model == config.model):
        return None
    adapter = store.require(champion.step, champion.key)
    name, bundle = adapter.key[:SHORT], adapter.folder / "adapter"
    require_intact(bundle)
    require_signed(store, adapter, config.public_key)
    trials = list(islice(_trials(store, adapter), config.questions))
    keep = {each.key[:SHORT] for each in log.state.roles().values()} | ({alias.adapter} if alias else set())
    ours = {each.version.key[:SHORT] for each in log.entries}
    failed = []
    for url in config.replicas:
        try:
            with _server(url) as server:
                there = _adapters(server)
                for old in sorted((ours & there) - keep):
                    _require(server.post("/v1/unload_lora_adapter", json={"lora_name": old}))
                if name not in there:
                    told = {"lora_name": name, "lora_path": str(bundle)}
                    _require(server.post("/v1/load_lora_adapter", json=told))
                _try(server, name, trials)
        except UserError as error:
            failed.append(Replica(url=url, error=str(error.what)))
    if failed and (not partly or len(failed) == len(config.replicas)):
        named = "; ".join(f"{each.url}: {each.error}" for each in failed)
        raise NotServed(f"{adapter.about} is not served: {named}", "mend the server, then `reground served --update`")
    _write(config, Alias(model=config.model, adapter=name, since=datetime.now(UTC).isoformat(timespec="milliseconds")))
    return Swapped(adapter=name, failed=tuple(failed))


def served(store: Store, config: ServingConfig) -> Served:
    """What is asked for and what each server has, as they say it themselves."""
    champion = promotion_log.read_state(store).champion
    return Served(
        champion=champion.key[:SHORT] if champion else None,
        alias=read_alias(config),
        replicas=tuple(map(_replica, config.replicas)),
    )


def read_alias(config: ServingConfig) -> Alias | None:
    """What the gateway reads; None if there is no such file yet. UserError if it is not what was written."""
    try:
        return Alias.model_validate_json(Path(config.alias or "").read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        return None
    except ValidationError:
        raise UserError(f"{config.alias} is no alias of ours", "name another file, or delete it") from None


def _write(config: ServingConfig, alias: Alias) -> None:
    """At once: a gateway sees the one before or this one."""
    path = Path(config.alias or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(alias.model_dump_json())
    new.replace(path)


def _replica(url: str) -> Replica:
    try:
        with _server(url) as server:
            return Replica(url=url, adapters=tuple(sorted(_adapters(server))))
    except UserError as error:
        return Replica(url=url, error=str(error.what))


@contextmanager
def _server(url: str) -> "Iterator[Client]":
    """A client that has the server's key, if `VLLM_API_KEY` holds one. UserError for whatever fails on the way."""
    import httpx

    key = os.environ.get("VLLM_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(PATIENCE, connect=5)) as client:
            yield client
    except httpx.HTTPError as error:
        raise UserError(f"{type(error).__name__}: {error}", "is the server up?") from None


def _require(response: Any) -> Any:
    """The response; UserError with the server's own words for one that refuses."""
    if response.is_error:
        raise UserError(
            f"{response.request.url.path} answers {response.status_code}: {response.text[:300]}",
            "start it by `reground serve --swap`",
        )
    return response


def _adapters(server: "Client") -> set[str]:
    """The adapters that a server has, and its base model."""
    return {each["id"] for each in _require(server.get("/v1/models")).json()["data"]}


class _Trial(NamedTuple):
    """A question that the base answers otherwise, as clients put it, and the answers that are right."""

    asked: dict[str, Any]
    right: set[str]


def _trials(store: Store, adapter: Artifact) -> Iterator[_Trial]:
    """Questions of the adapter's gate; none for an adapter that no gate judged."""
    from tasks.data.triplets import refusal_of
    from tasks.evaluation.answers import answered
    from tasks.prompts import PromptConfig
    from tasks.prompts.turns import Turns

    gate = gate_of(store, adapter)
    names = ("tuned_scores", "base_scores", "shipped_scores")
    scores = [gate.input_artifact(name) if gate else None for name in names]
    tuned, base, shipped = (each.input_artifact("answers") if each else None for each in scores)
    rows = scores[0].input_artifact("rows") if scores[0] else None
    if not (tuned and base and rows):
        return
    config = adapter.record.config
    prompt = PromptConfig.model_validate(config["prompt"])
    turns = Turns(prompt, refusal_of(rows.local()))
    sets = [answered(rows.local(), each.local() / "answers.arrow") for each in (tuned, base, shipped or tuned)]
    for (row, by_tuned), (_, by_base), (_, by_shipped) in zip(*sets, strict=True):
        if by_base.text in (by_tuned.text, by_shipped.text):
            continue
        asked = {"messages": turns.messages(row.asked), "temperature": 0, "max_tokens": config["max_new_tokens"]}
        if documents := turns.documents(row.asked):
            asked["documents"] = documents
        yield _Trial(asked, {by_tuned.text, by_shipped.text})


def _try(server: "Client", name: str, trials: Sequence[_Trial]) -> None:
    """UserError if more answers are other than the gate's than two engines differ in."""
    from tasks.text.thoughts import split_thought

    other = 0
    for trial in trials:
        answer = _require(server.post("/v1/chat/completions", json={"model": name, **trial.asked})).json()
        other += split_thought(answer["choices"][0]["message"]["content"] or "")[1].strip() not in trial.right
    if other > len(trials) // ODD:
        raise UserError(
            f"{other} of {len(trials)} evaluation questions are answered otherwise than the gate saw",
            "start the server by `reground serve --swap`, which gives it the bundle's tokenizer and chat template",
        )
