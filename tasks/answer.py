"""answer: what the base or the tuned model answers to each evaluation question."""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from tasks.data.solved import read_shots, with_examples
from tasks.data.triplets import read_triplets, refusal_of
from tasks.engine import RUNTIME, Config, Text, step
from tasks.engine.errors import UserError
from tasks.engine.parts import Journal
from tasks.engine.progress import Progress
from tasks.evaluation.answers import GENERAL, read_general_loss
from tasks.evaluation.tables import read_table, write_table
from tasks.models import vllm
from tasks.models.beginnings import Group, batches, begin
from tasks.models.general import TEXT, general_loss, loss_of
from tasks.models.model import (
    ModelConfig,
    attach_adapter,
    device_of,
    inference,
    load_frozen,
    load_tokenizer,
    merge_adapter,
    window_of,
)
from tasks.prompts import Asked, Prompt, PromptConfig, Vocabulary
from tasks.text import LANGUAGE_FILES

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Name = TypeVar("Name", bound=Hashable)
AT_ONCE = 256  # prompts that vLLM is asked in one request, and what a killed run asks again at most


class Answering(Config):
    """Greedy answers, in batches of similar length."""

    max_new_tokens: PositiveInt = Field(64, description="An answer is cut off after so many tokens.")
    thought_tokens: NonNegativeInt = Field(
        1024,
        description="And its thought after so many more, of a base model that thinks first; what stands behind a "
        "thought is the answer.",
    )
    # Not RUNTIME: a row's numbers differ in their last bits with the batch that it is in, and so may its answer.
    batch_tokens: PositiveInt = Field(
        8_192, description="Tokens of a batch, prompts padded to the longest, and room for the answers."
    )
    merge: bool = Field(
        False, description="Merge the adapter into the base, as for serving; for model.quantization none."
    )
    model: ModelConfig = ModelConfig()

    @model_validator(mode="after")
    def _merges_into_whole_weights(self) -> "Answering":
        if self.merge and self.model.quantization != "none":
            raise ValueError("merge rounds the adapter away in 4-bit weights; set model.quantization: none with it")
        return self


class AnswerSettings(Answering):
    """How questions are answered, and by whom besides base and tuned."""

    engine: Literal["auto", "transformers", "vllm"] = Field(
        "transformers",
        description="vllm: as it is served, by the vLLM on the PATH, or that REGROUND_VLLM names, on whole weights "
        "(model.quantization none) with the adapter beside them; its version is in the key. auto: vllm where it is "
        "there and can, which may differ between machines.",
    )
    shots: NonNegativeInt = Field(
        0,
        description="Have the base answer once more with so many solved examples of the training set in its prompt, "
        "as far as they fit its window: whether a better prompt does as well as a training. 0: not.",
    )


class AnswerConfig(Answering):
    """With what the prompts say and what answers, filled in by the flow."""

    engine: Literal["transformers", "vllm"] = "transformers"
    engine_version: Text | None = None  # vLLM's; that of transformers is in every key
    program: Annotated[str | None, RUNTIME] = None  # where vLLM is
    prompt: PromptConfig = PromptConfig()


class Answer(NamedTuple):
    """A generated answer, stripped; its tokens without the one that ends it; and whether there was none to end it."""

    text: str
    tokens: int
    truncated: bool


@step(
    libraries=("bitsandbytes", "jinja2", "peft", "pyarrow", "tokenizers", "torch", "transformers"),
    resources=(TEXT, *LANGUAGE_FILES),
    rowwise=("rows", "shots"),
)
def answer(
    config: AnswerConfig,
    *,
    rows: Path,
    base: Path,
    template: Path | None = None,
    adapter: Path | None = None,
    shots: Path | None = None,
    work: Path,
    earlier: Sequence[Path] = (),
    out: Path,
) -> dict[str, float]:
    """Answer every row of the folder `rows` with `base`, or with `adapter` on it: beside its weights, as in training,
    or merged into them, as in service. With `shots`, each question stands behind its solved examples.

    A prompt that is in `earlier` answers keeps its answer; the model answers only the others. A killed run continues
    after its last complete batch, with the same batches as without the interruption. By vLLM, answers whose tokens
    are all but equally likely may differ with what is asked beside them.

    Writes out/answers.arrow, a row for a row: id, prompt (its digest), answer, tokens (int32), truncated (bool); and
    out/general.json, the model's loss on a text that has nothing to do with the task.
    Returns how many rows were taken over and how many generated, and on a GPU for how many seconds it was held.
    """
    prompt = Prompt.load(config.prompt, Vocabulary.of(load_tokenizer(base), base), refusal_of(rows), template)
    ids, questions = [], []
    for row in read_triplets(rows):
        ids.append(row.id)
        questions.append(row.asked)
    if not ids:
        raise UserError("there is no row to answer", "add evaluation rows")
    encoded = list(prompt.encode_prompts(questions))
    if shots:
        encoded = list(with_examples(prompt, questions, read_shots(shots), window_of(base) - config.max_new_tokens))
    digests = [_digest(each) for each in encoded]
    taken = _taken_over(earlier, set(digests))
    new = {digest: each for digest, each in zip(digests, encoded, strict=True) if digest not in taken}
    journal = Journal(work / "answers.jsonl")
    answers = {digest: Answer(*fields) for batch in journal.records for digest, *fields in batch} | taken
    gpu_seconds, general = 0.0, next(filter(None, map(read_general_loss, earlier)), None)
    unanswered = sum(digest not in answers for digest in new)
    if unanswered or general is None:
        began = time.monotonic()
        batches, loss = (_by_vllm if config.engine == "vllm" else _by_transformers)(
            config, prompt, new, answers, base, adapter
        )
        answered = len(taken) + len(new) - unanswered
        with Progress("answer", total=len(taken) + len(new), done=answered) as bar:
            for batch in batches:
                journal.append([(digest, *each) for digest, each in batch.items()])
                answers |= batch
                bar.update(len(batch))
        general = general_loss(base, loss) if general is None else general
        if device_of(config.model) == "cuda":
            gpu_seconds = time.monotonic() - began
    given = [answers[digest] for digest in digests]
    columns: dict[str, tuple[str, Sequence[Any]]] = {
        "id": ("string", ids),
        "prompt": ("string", digests),
        "answer": ("string", [each.text for each in given]),
        "tokens": ("int32", [each.tokens for each in given]),
        "truncated": ("bool", [each.truncated for each in given]),
    }
    write_table(out / "answers.arrow", columns)
    (out / GENERAL).write_text(json.dumps({"loss": general}))
    reused = sum(digest in taken for digest in digests)
    measured = {"rows_taken_over": reused, "rows_generated": len(ids) - reused}
    return measured | ({"gpu_seconds": round(gpu_seconds, 1)} if gpu_seconds else {})


Batches = Iterator[dict[str, Answer]]
Loss = Callable[[list[int]], float]


def _by_transformers(
    config: AnswerConfig,
    prompt: Prompt,
    prompts: "Mapping[str, np.ndarray]",
    done: Container[str],
    base: Path,
    adapter: Path | None,
) -> tuple[Batches, Loss]:
    """The answers to those that are not done, and the loss of the model that gives them."""
    vllm.stop()
    model: Any = load_frozen(base, config.model)
    if adapter:
        model = attach_adapter(model, adapter)
    if adapter and config.merge:
        model = merge_adapter(model)
    lengths = {"max_new_tokens": config.max_new_tokens, "thought_tokens": config.thought_tokens}
    batches = generate_batches(model, prompt, prompts, done=done, batch_tokens=config.batch_tokens, **lengths)
    return batches, partial(loss_of, model)


def _by_vllm(
    config: AnswerConfig,
    prompt: Prompt,
    prompts: "Mapping[str, np.ndarray]",
    done: Container[str],
    base: Path,
    adapter: Path | None,
) -> tuple[Batches, Loss]:
    """The same. Prompts that begin alike follow each other: vLLM keeps what it has computed of them."""
    most = config.max_new_tokens
    thoughts = _thoughts(prompt, prompts, window_of(base), most, config.thought_tokens)
    assert config.program
    server, name = vllm.server(Path(config.program), base, config.model, adapter)

    def batches() -> Batches:
        left = sorted((each for each in prompts if each not in done), key=lambda each: prompts[each].tobytes())
        for start in range(0, len(left), AT_ONCE):
            names = left[start : start + AT_ONCE]
            asked = [prompts[each].tolist() for each in names]
            given = server.generate(name, asked, prompt.stop_ids, thoughts + most)
            yield {each: _cut(tokens, prompt, most) for each, tokens in zip(names, given, strict=True)}

    return batches(), partial(server.loss, name)


def _cut(tokens: list[int], prompt: Prompt, most: int) -> Answer:
    """The answer in these tokens, which vLLM ends after so many in all, its thought counted."""
    import torch

    (length,) = answer_tokens(prompt, torch.tensor([tokens], dtype=torch.long)).tolist()
    behind = max(0, length - most)
    return _answer(tokens[: len(tokens) - behind], length - behind, prompt, most)


def _thoughts(prompt: Prompt, prompts: "Mapping[Name, np.ndarray]", window: int, most: int, thought_tokens: int) -> int:
    """How many tokens a thought may have. UserError for a prompt that leaves an answer no room."""
    longest = max(map(len, prompts.values()), default=0) + most
    if longest > window:
        raise UserError(
            f"a prompt and its answer take {longest:,} tokens, and the model's window is {window:,}",
            "lower build.max_tokens (or give a shorter context)",
        )
    return min(thought_tokens, window - longest) if prompt.may_think else 0


def _digest(prompt: "np.ndarray") -> str:
    """Digest of all token ids that the model is given: 128 bits of SHA-256, hexadecimal."""
    return hashlib.sha256(prompt.astype("<i4").tobytes()).hexdigest()[:32]


def _taken_over(earlier: Sequence[Path], wanted: Container[str]) -> dict[str, Answer]:
    """The answers that earlier artifacts hold to the wanted prompts, by digest; the first artifact is the newest."""
    found: dict[str, Answer] = {}
    for folder in earlier:
        for digest, *answer in read_table(folder / "answers.arrow", ("prompt", "answer", "tokens", "truncated")):
            if digest in wanted:
                found.setdefault(digest, Answer(*answer))
    return found


def generate(
    model: Any,
    prompt: Prompt,
    questions: Sequence[Asked],
    *,
    max_new_tokens: int,
    thought_tokens: int = 0,
    batch_tokens: int = 8_192,
) -> list[Answer]:
    """The model's greedy answer to each question, in order; raises what `generate_batches` does."""
    prompts = dict(enumerate(prompt.encode_prompts(questions)))
    answers: dict[int, Answer] = {}
    for batch in generate_batches(
        model,
        prompt,
        prompts,
        max_new_tokens=max_new_tokens,
        thought_tokens=thought_tokens,
        batch_tokens=batch_tokens,
    ):
        answers |= batch
    return [answers[i] for i in prompts]


def generate_batches(
    model: Any,
    prompt: Prompt,
    prompts: "Mapping[Name, np.ndarray]",
    *,
    done: Container[Name] = (),
    max_new_tokens: int,
    thought_tokens: int = 0,
    batch_tokens: int,
) -> Iterator[dict[Name, Answer]]:
    """The model's greedy answers to prompts, given as token ids under any names; a batch at a time.

    Batches are cut from all the prompts and only then is what is `done` left out, so that a complete batch gives the
    same answers whether or not others are done.

    Raises UserError for a prompt beyond the model's window, and if the GPU has too little memory for a batch.
    """
    import torch
    from transformers import GenerationConfig

    window = getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    thoughts = _thoughts(prompt, prompts, window, max_new_tokens, thought_tokens)
    # The model's own settings may sample or penalise repetition, and would fill in what is left open here.
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=thoughts + max_new_tokens,
        eos_token_id=list(prompt.stop_ids),
        pad_token_id=prompt.stop_ids[0],  # masked, so any will do
    )
    for groups in batches(prompts, thoughts + max_new_tokens, batch_tokens):
        left = [group.without(done) for group in groups]
        left = [group for group in left if group.names]
        if not left:
            continue
        try:
            yield _generate(model, prompt, prompts, left, max_new_tokens)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the GPU has too little memory for {sum(len(group.names) for group in left)} answers at a time",
                f"lower answer.batch_tokens, {batch_tokens:,} now",
            ) from error


def _generate(
    model: Any, prompt: Prompt, prompts: "Mapping[Name, np.ndarray]", groups: list[Group[Name]], most: int
) -> dict[Name, Answer]:
    """One batch; each answer ends after `most` tokens, its thought not counted."""
    from transformers import StoppingCriteriaList

    def ends(ids: "Tensor", *_: Any, **__: Any) -> "Tensor":
        return answer_tokens(prompt, ids[:, width:]) >= most

    names = [name for group in groups for name in group.names]
    with inference(model):
        ids, mask, cache = begin(model, prompts, groups, prompt.stop_ids[0])
        width = ids.shape[1]
        generated = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            stopping_criteria=StoppingCriteriaList([ends]),
        )[:, width:]
    lengths = answer_tokens(prompt, generated).tolist()
    answers = (_answer(*each, prompt, most) for each in zip(generated.tolist(), lengths, strict=True))
    return dict(zip(names, answers, strict=True))


def _answer(tokens: list[int], length: int, prompt: Prompt, most: int) -> Answer:
    end = next((place for place, token in enumerate(tokens) if token in prompt.stop_ids), None)
    kept = tokens[:end]
    _, text = prompt.decode(kept)
    after = length - (len(tokens) - len(kept))  # its own tokens: what ended it and padding not counted
    return Answer(text, max(after, 0), truncated=end is None or after >= most)


def answer_tokens(prompt: Prompt, generated: "Tensor") -> "Tensor":
    """How many of each row's new tokens (rows × tokens) stand behind its thought; negative where it still thinks."""
    import torch

    count = torch.full((len(generated),), generated.shape[1], device=generated.device)
    if not prompt.may_think:
        return count
    opening, closing = (torch.tensor(ids, device=generated.device) for ids in prompt.thought_ids)
    if generated.shape[1] < max(len(opening), len(closing)):
        return count
    closes = (generated.unfold(1, len(closing), 1) == closing).all(-1)
    thinks = torch.full_like(count, prompt.begins_thought, dtype=torch.bool)
    thinks |= (generated[:, : len(opening)] == opening).all(-1)
    behind = count - closes.int().argmax(1) - len(closing)
    return torch.where(closes.any(1), behind, torch.where(thinks, -1, count))
