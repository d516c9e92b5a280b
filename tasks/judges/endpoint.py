"""An OpenAI-compatible endpoint: requests with a budget and retries, and the completions that were paid for once."""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from tasks.engine import Config, Text
from tasks.engine.errors import UserError, install
from tasks.engine.parts import Journal
from tasks.evaluation.tables import read_table, write_table
from tasks.judges.cases import Missing

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

GIVE_UP = 8  # requests in a row, each tried again, that came to nothing: the endpoint is down
CHARACTERS = 4  # of a token, about, for a server that tells no usage
MOST = 200_000  # completions that an artifact carries: about 100 MB
TABLE = "completions.arrow"
JOURNAL = "completions.jsonl"
COLUMNS = ("digest", "text", "prompt_tokens", "completion_tokens")
SPENT = "reground-budget-spent"  # a header of our own, on a response that no server sent


class BudgetConfig(Config):
    """What one run may spend; judgements beyond it are missing. What is known already costs nothing."""

    requests: NonNegativeInt | None = Field(None, description="HTTP requests, those that are tried again counted.")
    tokens: NonNegativeInt | None = Field(
        None, description="Tokens of prompts and completions; passed by at most those of the requests then on the way."
    )


class EndpointConfig(Config):
    """Where the endpoint is and how it is called; none of it changes what a judge says."""

    url: Text = Field("http://127.0.0.1:8000/v1", description="The base URL, up to and with /v1.")
    key_variable: Text | None = Field(
        "OPENAI_API_KEY", description="The environment variable that holds the API key; null for a server without keys."
    )
    concurrency: PositiveInt = Field(4, description="Requests on the way at a time.")
    timeout: PositiveFloat = Field(60.0, description="Seconds to wait for a reply.")
    retries: NonNegativeInt = Field(
        5, description="Further tries after 429, 5xx or no reply, when Retry-After says so, or else backing off."
    )

    @field_validator("key_variable")
    @classmethod
    def _an_api_key(cls, name: str | None) -> str | None:
        """Whoever sets up a run names the endpoint as well, and must not have it sent other secrets of the worker."""
        if name is not None and (not name.endswith("_API_KEY") or name.startswith("PREFECT_")):
            raise ValueError("the name of a variable such as OPENAI_API_KEY is expected, ending in _API_KEY")
        return name

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        """The URL goes on record; the key must not."""
        if not url.startswith(("http://", "https://")) or "@" in url or "?" in url:
            raise ValueError("a URL such as https://host/v1, without user, password or query, is expected")
        return url.rstrip("/")


class Completion(NamedTuple):
    """What the model replied, and the tokens that it cost."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class NoReply(Exception):
    """A judgement that did not come, and why."""

    def __init__(self, reason: Missing) -> None:
        super().__init__(reason)
        self.reason: Missing = reason


class Endpoint:
    """Asks for completions from several threads; counts what it spends.

    Back-off, Retry-After (up to two minutes) and time limits are those of the `openai` client.
    """

    def __init__(self, config: EndpointConfig, budget: BudgetConfig, section: str = "judge.llm") -> None:
        self._url, self._section = config.url, section
        self._budget = budget
        self._lock = threading.Lock()
        self._key = _key(config.key_variable, section)
        self._client = self._open(config)
        self._in_vain = 0  # requests in a row
        self.requests = self.prompt_tokens = self.completion_tokens = 0
        self.trouble = ""  # what the last failing request said

    def complete(self, **body: Any) -> Completion:
        """One completion. Raises NoReply, or UserError for what would fail for every request alike."""
        import openai

        if self._in_vain >= GIVE_UP:
            raise NoReply("unreachable")
        try:
            reply = self._client.chat.completions.create(**body)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise self._explained(error, body["model"]) from None  # the cause may quote the key
        except openai.APIStatusError as error:
            if SPENT in error.response.headers:
                raise NoReply("budget") from None
            tried = error.status_code in (408, 409, 429) or error.status_code >= 500
            raise self._failed(error, "unreachable" if tried else "refused") from None
        except openai.APIConnectionError as error:
            raise self._failed(error, "unreachable") from None
        except (openai.APIError, ValueError) as error:  # a body that is no JSON
            raise self._failed(error, "unreadable") from None
        return self._counted(reply, body)

    def _counted(self, reply: Any, body: dict[str, Any]) -> Completion:
        """The completion in a reply, which a server may have made of anything."""
        try:
            text = str(reply.choices[0].message.content or "")
        except (AttributeError, IndexError, TypeError):
            raise self._failed(ValueError("the reply holds no choices[0].message"), "unreadable") from None
        usage = getattr(reply, "usage", None)
        asked = sum(len(message["content"]) for message in body["messages"])
        completion = Completion(
            text,
            getattr(usage, "prompt_tokens", None) or asked // CHARACTERS,
            getattr(usage, "completion_tokens", None) or len(text) // CHARACTERS,
        )
        with self._lock:
            self._in_vain = 0
            self.prompt_tokens += completion.prompt_tokens
            self.completion_tokens += completion.completion_tokens
        return completion

    def _failed(self, error: Exception, reason: Missing) -> NoReply:
        with self._lock:
            self.trouble = self._plain(error)
            self._in_vain = self._in_vain + 1 if reason == "unreachable" else 0
        return NoReply(reason)

    def _explained(self, error: "APIStatusError", model: str) -> UserError:
        message = f"{self._url} says {error.status_code}: {self._plain(error)}"
        if error.status_code == 404:
            return UserError(message, f"check {self._section}.model ({model}) and its endpoint.url, which ends in /v1")
        return UserError(
            message, f"put a valid key into the environment variable of {self._section}.endpoint.key_variable"
        )

    def _plain(self, error: Exception) -> str:
        """A message without the key, which some servers repeat."""
        message = str(error).replace(self._key, "…") if self._key else str(error)
        return message.strip().split("\n")[0][:300] or type(error).__name__

    def _spend(self) -> bool:
        """Whether there is budget for one more request; counts it."""
        most = self._budget
        with self._lock:
            tokens = self.prompt_tokens + self.completion_tokens
            if most.requests is not None and self.requests >= most.requests:
                return False
            if most.tokens is not None and tokens >= most.tokens:
                return False
            self.requests += 1
            return True

    def _open(self, config: EndpointConfig) -> "OpenAI":
        try:
            import httpx2
            from openai import OpenAI
        except ImportError:
            raise UserError(f"{self._section} needs the openai library", install("judge")) from None

        endpoint = self

        class Metered(httpx2.Client):
            """Sends a request if there is budget for it, be it the first try or another."""

            def send(self, request: httpx2.Request, **how: Any) -> httpx2.Response:
                if endpoint._spend():
                    return super().send(request, **how)
                return httpx2.Response(402, headers={SPENT: "true", "x-should-retry": "false"}, request=request)

        # Redirects are not followed: they could carry the key to another host.
        connections = httpx2.Limits(max_connections=config.concurrency)
        return OpenAI(
            base_url=config.url,
            api_key=self._key or "none",
            timeout=config.timeout,
            max_retries=config.retries,
            http_client=Metered(limits=connections, timeout=config.timeout, follow_redirects=False),
        )

    def close(self) -> None:
        self._client.close()


def _key(variable: str | None, section: str) -> str | None:
    """The API key, straight from the environment: it is kept nowhere else."""
    if variable is None:
        return None
    if key := os.environ.get(variable, "").strip():
        return key
    raise UserError(
        f"the environment variable {variable} holds no API key for {section}",
        f"set it, or set {section}.endpoint.key_variable to another one, or to null for a server without keys",
    )


class Completions:
    """Completions by a digest of the whole request: model, settings, prompt and data, but no address and no key.

    How a completion is read is no part of it, so that a change there asks nobody again.
    """

    def __init__(self, work: Path, earlier: Sequence[Path]) -> None:
        self._known: dict[str, Completion] = {}
        self._lock = threading.Lock()
        self._asked: dict[str, Future[Completion]] = {}
        self._journal = Journal(work / JOURNAL)
        for digest, *content in (*self._journal.records, *_left_beside(work)):
            self._known[digest] = Completion(*content)
        for folder in earlier:
            table = folder / TABLE
            for digest, *content in read_table(table, COLUMNS) if table.is_file() else ():  # only an LLM's has one
                self._known.setdefault(digest, Completion(*content))
        self._taken: set[str] = set()

    def of(self, digest: str, ask: Callable[[], Completion]) -> Completion:
        """The completion of this digest; the first thread that wants an unknown one asks, others wait for it."""
        with self._lock:
            if digest in self._known:
                if digest not in self._asked:
                    self._taken.add(digest)
                return self._known[digest]
            there = self._asked.get(digest)
            coming = there or self._asked.setdefault(digest, Future())
        if there:
            return coming.result()
        try:
            completion = ask()
        except BaseException as error:
            coming.set_exception(error)
            raise
        with self._lock:
            self._journal.append((digest, *completion))
            self._known[digest] = completion
        coming.set_result(completion)
        return completion

    @property
    def taken_over(self) -> int:
        """How many were wanted and known beforehand."""
        return len(self._taken)

    def write(self, folder: Path) -> None:
        """Write a table: digest, text, prompt_tokens, completion_tokens; the newest `MOST`, those of this run first."""
        new = sorted(digest for digest in self._asked if digest in self._known)  # threads ask in any order
        kept = [*new, *(digest for digest in self._known if digest not in self._asked)][:MOST]
        completions = [self._known[digest] for digest in kept]
        columns: dict[str, tuple[str, list[Any]]] = {
            "digest": ("string", kept),
            "text": ("string", [each.text for each in completions]),
            "prompt_tokens": ("int32", [each.prompt_tokens for each in completions]),
            "completion_tokens": ("int32", [each.completion_tokens for each in completions]),
        }
        write_table(folder / TABLE, columns)


def _left_beside(work: Path) -> Iterator[list[Any]]:
    """What killed runs of other keys had paid for, and what runs that go on have so far: a budget set late, say.

    A journal mends itself when it is opened, which only its own run may do; so copies are opened.
    """
    with tempfile.TemporaryDirectory() as folder:
        for beside in sorted(work.parent.iterdir()):
            if beside == work:
                continue
            with suppress(FileNotFoundError, NotADirectoryError):  # there is none, or its run has ended meanwhile
                yield from Journal(Path(shutil.copy(beside / JOURNAL, folder))).records
