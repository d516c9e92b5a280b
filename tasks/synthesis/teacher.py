"""The writer that is a model: it writes questions, answers and quotes, and answers its own questions once more."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, Field, NonNegativeInt

from tasks.engine import Config
from tasks.engine.errors import UserError
from tasks.engine.progress import Progress
from tasks.evaluation.metrics import METRICS, Row
from tasks.judges.endpoint import Completions, Endpoint, NoReply
from tasks.judges.llm import AskedConfig, Llm, Prompt, Unreadable
from tasks.synthesis.documents import Chunk
from tasks.synthesis.drafts import Draft, drafted
from tasks.text import ContextView

PROMPTS = "tasks/synthesis/teacher.yaml"  # from the project's root
Kind = Literal["answerable", "partly", "false_premise", "unanswerable"]


class Written(BaseModel):
    """A question, its answer, and the sentence of the passage that the answer rests on."""

    kind: Kind
    question: Annotated[str, Field(min_length=3)]
    answer: str = ""
    quote: str = ""


class WrittenPairs(BaseModel):
    pairs: list[Written]


class Answered(BaseModel):
    stated: bool
    answer: str = ""


PAIRS = Prompt("pairs", WrittenPairs, PROMPTS)
ANSWER = Prompt("answer", Answered, PROMPTS)


class Counts(Config):
    """How many questions of a kind the teacher writes of a passage."""

    answerable: NonNegativeInt = Field(3, description="The passage answers it in full.")
    partly: NonNegativeInt = Field(1, description="Of two things that are asked the passage states one.")
    false_premise: NonNegativeInt = Field(0, description="What the question takes for granted is not so.")
    unanswerable: NonNegativeInt = Field(1, description="As people ask that expect an answer; there is none.")


class TeacherConfig(AskedConfig):
    """A model behind an OpenAI-compatible endpoint that writes; without one the offline writer does."""

    count: Counts = Counts()
    again: bool = Field(
        True, description="Have it answer each question from the passage once more; what disagrees is left out."
    )


class Taught(NamedTuple):
    """What the teacher wrote, why some of it is left out or did not come, and what it cost."""

    drafts: list[list[Draft]]  # of each chunk
    left_out: Counter[str]
    cost: dict[str, int]


def teach(config: TeacherConfig, chunks: Sequence[tuple[Chunk, str]], completions: Completions) -> Taught:
    """Drafts of each chunk; beside it stands the code of its language. What `completions` hold is not asked again.

    Raises UserError for a wrong key, model or address, and if nothing at all came.
    """
    endpoint = Endpoint(config.endpoint, config.budget, "synthesize.teacher")
    llm = Llm(config, endpoint, completions)

    def write(place: tuple[Chunk, str]) -> list[Draft | str]:
        try:
            return list(_written(llm, config, *place))
        except NoReply as error:
            return [error.reason]
        except Unreadable:
            return ["unreadable"]

    pool = ThreadPoolExecutor(config.endpoint.concurrency)
    try:
        done = list(Progress("teacher", unit="passage", total=len(chunks)).over(pool.map(write, chunks)))
    finally:
        pool.shutdown(cancel_futures=True)
        endpoint.close()
    drafts = [[each for each in said if isinstance(each, Draft)] for said in done]
    left_out = Counter(each for said in done for each in said if isinstance(each, str))
    if not any(drafts) and left_out["unreachable"] + left_out["refused"]:
        raise UserError(
            f"{config.endpoint.url} wrote of none of {len(chunks):,} passages; the last trouble: {endpoint.trouble}",
            "check that the server is up at synthesize.teacher.endpoint.url; if it refuses response_format, set "
            "synthesize.teacher.json_mode to false",
        )
    cost = {
        "requests": endpoint.requests,
        "prompt_tokens": endpoint.prompt_tokens,
        "completion_tokens": endpoint.completion_tokens,
        "replies_taken_over": completions.taken_over,
    }
    return Taught(drafts, left_out, cost)


def _written(llm: Llm, config: TeacherConfig, chunk: Chunk, code: str) -> Iterator[Draft | str]:
    """Drafts, and for each question that is left out why."""
    wanted = {kind: count for kind, count in config.count.model_dump().items() if count}
    for pair in llm.ask(PAIRS, passage=chunk.passage, count=wanted).pairs:
        refuses = pair.kind == "unanswerable"
        if refuses == bool(pair.answer.strip()):
            yield "answer missing" if not refuses else "answered though it is none"
            continue
        line = "" if refuses else _found(pair.quote, chunk.passage)
        if line is None:
            yield "quote is not in the passage"
            continue
        if config.again and not _agrees(llm, chunk, code, pair):
            yield "answered otherwise the second time"
            continue
        answer = None if refuses else pair.answer.strip()
        yield drafted(chunk, pair.question.strip(), answer, line, pair.kind, writer=config.model, language=code)


def _found(quote: str, passage: str) -> str | None:
    """The quote as the passage has it, whatever its blanks; None if it is not there."""
    said = " ".join(quote.split())
    return said if said and said.casefold() in " ".join(passage.split()).casefold() else None


def _agrees(llm: Llm, chunk: Chunk, code: str, pair: Written) -> bool:
    """Whether a second answer, made without the first, says the same."""
    again = llm.ask(ANSWER, passage=chunk.passage, question=pair.question)
    if pair.kind == "unanswerable" or not again.stated:
        return not again.stated and pair.kind in ("unanswerable", "partly")
    row = Row(pair.question, ContextView([chunk.passage], code), again.answer, pair.answer)
    return METRICS["correct"].measure(row) in (1, None)
