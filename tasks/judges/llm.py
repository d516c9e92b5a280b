"""A language model as judge: faithfulness and relevance in the manner of RAGAS (Es et al. 2024).

Faithfulness takes the answer apart into statements, has each checked against the context, and is the supported share.
Relevance has questions guessed from the answer alone, and is how near they come to the question that was asked.

The instructions stand in the system message alone. What comes from users and documents goes into the user message as
one JSON object, which no text can end: quotes, line breaks, and whatever may open a tag or a control token are escaped.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import orjson
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, ValidationError

from tasks.engine import RUNTIME, Config, Text
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_json
from tasks.engine.progress import Progress
from tasks.judges.cases import CHUNK, Case, Judgement, JudgeResult
from tasks.judges.embedding import Embedder
from tasks.judges.endpoint import BudgetConfig, Completions, Endpoint, EndpointConfig, NoReply

PROMPTS = "tasks/judges/prompts.yaml"  # from the project's root
# What may open a tag or a control token: <context>, </s>, <|im_start|>, [INST], [/INST], <<SYS>>.
OPENS = re.compile(r"<(?=[^\s\d=])|\[(?=/?[A-Z_]+\])")
THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)


class Statements(BaseModel):
    statements: list[str]


class Verdict(BaseModel):
    number: int
    reason: str = ""
    supported: bool


class Verdicts(BaseModel):
    verdicts: list[Verdict]


class Questions(BaseModel):
    questions: list[str] = Field(min_length=1)
    noncommittal: bool


Reply = TypeVar("Reply", bound=BaseModel)


class Prompt(NamedTuple, Generic[Reply]):
    """An instruction, by its name in a file of prompts, and the form of the reply to it."""

    name: str
    reply: type[Reply]
    file: str = PROMPTS  # from the project's root

    def messages(self, **data: Any) -> list[dict[str, str]]:
        """System and user message; `data` is what is to be examined."""
        return [
            {"role": "system", "content": f"{_texts(self.file)[self.name]}\n\n{_texts(PROMPTS)['data']}"},
            {"role": "user", "content": quoted(data)},
        ]


STATEMENTS = Prompt("statements", Statements)
VERDICTS = Prompt("verdicts", Verdicts)
QUESTIONS = Prompt("questions", Questions)


@cache
def _texts(file: str) -> dict[str, str]:
    import yaml

    texts: dict[str, str] = yaml.safe_load((Path(__file__).parents[2] / file).read_text(encoding="utf-8"))
    return texts


def prompt_hash(*prompts: Prompt[Any]) -> str:
    """What names the wording: SHA-256 of the system messages, hexadecimal."""
    return sha256_json([prompt.messages()[0]["content"] for prompt in prompts])


def quoted(data: dict[str, Any]) -> str:
    """Data as a JSON object that only a JSON reader turns back into its text."""
    return "{" + ", ".join(f"{_string(name)}: {_value(each)}" for name, each in data.items()) + "}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        return quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return orjson.dumps(value).decode()


def _string(text: str) -> str:
    return OPENS.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(text).decode())


def read(text: str, form: type[Reply]) -> Reply | None:
    """The reply in a completion: its outermost JSON object, without thoughts and fences; None if it cannot be read."""
    reply = THINKING.sub("", text)
    try:
        return form.model_validate_json(reply[reply.find("{") : reply.rfind("}") + 1])
    except ValidationError:
        return None


class AskedConfig(Config):
    """A model behind an OpenAI-compatible endpoint, and how it is asked."""

    model: Text | None = Field(None, description="The model's id at the endpoint; without one it is off.")
    temperature: float = Field(0.0, ge=0, le=2, description="0: the model's most likely reply.")
    max_tokens: PositiveInt = Field(
        1024, description="A reply is cut off after so many tokens, and is then unreadable."
    )
    json_mode: bool = Field(True, description="Ask for response_format json_object; not every server knows it.")
    attempts: PositiveInt = Field(2, description="How often a reply is asked for in all if it cannot be read.")
    round: NonNegativeInt = Field(0, description="Raise it to ask again for what is missing; what came stays.")
    budget: BudgetConfig = BudgetConfig()
    endpoint: Annotated[EndpointConfig, RUNTIME] = EndpointConfig()


class LlmConfig(AskedConfig):
    """A language model as judge; without a model it is off."""

    faithfulness: bool = Field(True, description="Judge whether the context supports the answer; two requests each.")
    relevance: bool = Field(
        True, description="Judge whether the answer is one to the question; one request. Needs judge.embedding.model."
    )
    measured: bool = Field(
        False, description="Also judge 216 answers whose support is known, once: some 430 requests, 650 with relevance."
    )
    questions: PositiveInt = Field(3, description="Questions that are guessed from an answer.")

    @property
    def on(self) -> bool:
        return self.model is not None


LABELS: dict[str, tuple[str, tuple[Prompt[Any], ...]]] = {
    "llm_faithfulness": ("Faithfulness (LLM)", (STATEMENTS, VERDICTS)),
    "llm_relevance": ("Relevance (LLM)", (QUESTIONS,)),
}


class Unreadable(Exception):
    """No reply to a request could be read."""


class Guessed(NamedTuple):
    questions: list[str]
    noncommittal: bool


Reaction = Judgement | Guessed
React = Callable[[Case], Reaction]


class Llm:
    """Puts prompts to the model, each once: what `completions` hold is not asked for."""

    def __init__(self, config: AskedConfig, endpoint: Endpoint, completions: Completions) -> None:
        self._config = config
        self._endpoint = endpoint
        self._completions = completions

    def ask(self, prompt: Prompt[Reply], fits: Callable[[Reply], bool] = lambda reply: True, **data: Any) -> Reply:
        """The model's reply. Raises Unreadable if it is not as the prompt asks or does not fit, and NoReply."""
        config = self._config
        body: dict[str, Any] = {
            "model": config.model,
            "messages": prompt.messages(**data),
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
        }
        if config.json_mode:
            body["response_format"] = {"type": "json_object"}
        for attempt in range(config.attempts * (1 + config.round)):  # those of earlier rounds are known
            digest = sha256_json((body, attempt))[:32]
            completion = self._completions.of(digest, lambda: self._endpoint.complete(**body))
            reply = read(completion.text, prompt.reply)
            if reply and fits(reply):
                return reply
        raise Unreadable

    def faithfulness(self, case: Case) -> Judgement:
        """Supported statements ÷ all, 0 to 1, up; None if the answer declines or states nothing."""
        if nothing := _nothing(case):
            return nothing
        found = self.ask(STATEMENTS, question=case.question, answer=case.answer)
        statements = [text for text in found.statements if text.strip()]
        if not statements:
            return Judgement(None, "no claim")
        numbered = [{"number": number, "statement": text} for number, text in enumerate(statements, 1)]
        checked = self.ask(
            VERDICTS,
            lambda reply: sorted(each.number for each in reply.verdicts) == list(range(1, len(statements) + 1)),
            passages=case.context,
            statements=numbered,
        )
        return Judgement(round(sum(each.supported for each in checked.verdicts) / len(statements), 6))

    def guess(self, count: int, case: Case) -> Reaction:
        """So many questions behind an answer; a Judgement if the answer declines."""
        if nothing := _nothing(case):
            return nothing
        guessed = self.ask(QUESTIONS, answer=case.answer, count=count)
        return Guessed(guessed.questions[:count], guessed.noncommittal)

    def each(self, cases: Sequence[Case], says: Mapping[str, React]) -> dict[str, list[Reaction]]:
        """What each of `says` gives of each case, by its name; a Judgement with the reason where nothing came.

        Several are on the way at a time, question by question in an order of the ids' digests: when a budget is spent,
        what was judged is a random sample of questions, and of each both systems' answers by every judge.
        """

        def said(task: tuple[int, str]) -> Reaction:
            at, name = task
            try:
                return says[name](cases[at])
            except NoReply as error:
                return Judgement(None, error.reason)
            except Unreadable:
                return Judgement(None, "unreadable")

        order = sorted(range(len(cases)), key=lambda at: hashlib.sha256(cases[at].id.encode()).digest())
        same = {case.seen: at for at, case in enumerate(cases)}  # two systems may say the same
        tasks = list(dict.fromkeys((same[cases[at].seen], name) for at in order for name in says))
        pool = ThreadPoolExecutor(self._config.endpoint.concurrency)
        try:
            done = Progress("llm", unit="judgement", total=len(tasks)).over(pool.map(said, tasks))
            found = dict(zip(tasks, done, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)
        return {name: [found[same[case.seen], name] for case in cases] for name in says}


def _nothing(case: Case) -> Judgement | None:
    """Why an answer is not put to the model, if it is not."""
    if case.refused:
        return Judgement(None, "refusal")
    return None if case.answer.strip() else Judgement(None, "no claim")


def scored(said: Sequence[Reaction], cases: Sequence[Case], embed: Callable[[], Embedder] | None) -> list[Judgement]:
    """Judgements as they are; of guessed questions the mean cosine with the one that was asked, -1 to 1, up.

    A noncommittal answer scores 0.
    """
    judgements = [each if isinstance(each, Judgement) else Judgement(0.0) for each in said]
    guessed = [(at, each) for at, each in enumerate(said) if isinstance(each, Guessed) and not each.noncommittal]
    for start in range(0, len(guessed), CHUNK):  # the embedder lets go of vectors between what it is asked
        chunk = [(at, cases[at].question, each.questions) for at, each in guessed[start : start + CHUNK]]
        assert embed  # the step asks for an embedding model
        vector = embed().of([text for _, asked, questions in chunk for text in (asked, *questions)])
        for at, asked, questions in chunk:
            near = [float(vector(asked) @ vector(question)) for question in questions]
            judgements[at] = Judgement(round(sum(near) / len(near), 6))
    return judgements


def by_llm(
    config: LlmConfig, cases: Sequence[Case], completions: Completions, embed: Callable[[], Embedder] | None
) -> tuple[list[JudgeResult], dict[str, int]]:
    """What the language model says of each case, and what it cost: requests, tokens, completions taken over.

    Raises UserError for a wrong key, model or address, and if nothing at all came.
    """
    endpoint = Endpoint(config.endpoint, config.budget)
    llm = Llm(config, endpoint, completions)
    says: dict[str, React] = {"llm_faithfulness": llm.faithfulness} if config.faithfulness else {}
    if config.relevance:
        says["llm_relevance"] = partial(llm.guess, config.questions)
    try:
        said = llm.each(cases, says)
    finally:
        endpoint.close()
    _check_reached(config, endpoint, [each for column in said.values() for each in column])
    found = []
    for judge, column in said.items():
        label, prompts = LABELS[judge]
        about = {"label": label, "model": config.model, "prompt": prompt_hash(*prompts)}
        found.append(JudgeResult(judge, about, [(each, None) for each in scored(column, cases, embed)]))
    cost = {
        "requests": endpoint.requests,
        "prompt_tokens": endpoint.prompt_tokens,
        "completion_tokens": endpoint.completion_tokens,
        "replies_taken_over": completions.taken_over,
    }
    return found, cost


def _check_reached(config: LlmConfig, endpoint: Endpoint, said: Sequence[Reaction]) -> None:
    """That not one judgement came is no missing rate; it is a mistake."""
    failed = [each for each in said if isinstance(each, Judgement) and each.reason in ("unreachable", "refused")]
    if failed and not any(isinstance(each, Guessed) or each.score is not None for each in said):
        raise UserError(
            f"{config.endpoint.url} gave none of {len(failed):,} judgements; the last trouble: {endpoint.trouble}",
            "check that the server is up at judge.llm.endpoint.url; if it refuses response_format, set "
            "judge.llm.json_mode to false",
        )
