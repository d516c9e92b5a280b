"""answer: what the base or the tuned model answers to each evaluation question."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field, PositiveInt

from tasks.dataset.refusal import refusal_of
from tasks.errors import UserError
from tasks.model import ModelConfig, attach_adapter, load_base, load_tokenizer
from tasks.prompts import Prompt
from tasks.triplets import read_triplets
from tasks.versioning import Config, step

if TYPE_CHECKING:
    import numpy as np

SMALL = 50_000_000  # weights
Question = tuple[Sequence[str], str]  # passages, query


class AnswerConfig(Config):
    """Greedy answers, in batches of like length."""

    max_new_tokens: PositiveInt = Field(64, description="An answer is cut off after so many tokens.")
    # Not RUNTIME: a row's numbers differ in their last bits with the batch that it is in, and so may its answer.
    batch_tokens: PositiveInt = Field(
        8_192, description="Tokens of a batch, prompts padded to the longest, and room for the answers."
    )
    model: ModelConfig = ModelConfig()


class Answer(NamedTuple):
    """A generated answer, stripped; its tokens without the one that ends it; and whether there was none to end it."""

    text: str
    tokens: int
    truncated: bool


@step(libraries=("bitsandbytes", "jinja2", "peft", "pyarrow", "tokenizers", "torch", "transformers"))
def answer(
    config: AnswerConfig, *, rows: Path, base: Path, template: Path, adapter: Path | None = None, out: Path
) -> None:
    """Answer every row of rows/rows.arrow with `base`, or with `adapter` on it, as they are in training: not merged.

    Writes out/answers.arrow, a row for a row: id, answer, tokens (int32), truncated (bool).
    """
    import pyarrow as pa

    source = rows / "rows.arrow"
    prompt = Prompt.load(template, load_tokenizer(base), refusal_of(read_triplets(source)))
    ids, questions = [], []
    for row in read_triplets(source):
        ids.append(row.id)
        questions.append((row.context, row.query))
    if not ids:
        raise UserError("there is no row to answer", "add evaluation rows")
    model: Any = load_base(base, config.model)
    if adapter:
        model = attach_adapter(model, adapter)
    answers = generate(model, prompt, questions, max_new_tokens=config.max_new_tokens, batch_tokens=config.batch_tokens)
    table = pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "answer": pa.array([each.text for each in answers], pa.string()),
            "tokens": pa.array([each.tokens for each in answers], pa.int32()),
            "truncated": pa.array([each.truncated for each in answers], pa.bool_()),
        }
    )
    with pa.ipc.new_stream(str(out / "answers.arrow"), table.schema) as stream:
        stream.write_table(table)


def generate(
    model: Any, prompt: Prompt, questions: Sequence[Question], *, max_new_tokens: int, batch_tokens: int = 8_192
) -> list[Answer]:
    """The model's greedy answer to each question, in order.

    Raises UserError for a prompt beyond the model's window, and if the GPU has too little memory for a batch.
    """
    import torch
    from tqdm import tqdm
    from transformers import GenerationConfig

    ids = list(prompt.encode_prompts(questions))
    longest = max(map(len, ids)) + max_new_tokens
    window = getattr(model.config, "max_position_embeddings", None) or longest
    if longest > window:
        raise UserError(
            f"a prompt and its answer take {longest:,} tokens, and the model's window is {window:,}",
            "lower build.max_tokens (or give a shorter context)",
        )
    # The model's own settings may sample or penalise repetition, and would fill in what is left open here.
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(prompt.stop_ids),
        pad_token_id=prompt.stop_ids[0],  # masked, so any will do
    )
    answers: dict[int, Answer] = {}
    with torch.inference_mode(), _threads(model), tqdm(desc="answer", unit="row", total=len(ids), disable=None) as bar:
        for batch in _batches(ids, max_new_tokens, batch_tokens):
            width = max(len(ids[i]) for i in batch)
            padded = torch.full((len(batch), width), prompt.stop_ids[0])
            mask = torch.zeros_like(padded)
            for row, i in enumerate(batch):
                padded[row, width - len(ids[i]) :] = torch.from_numpy(ids[i])
                mask[row, width - len(ids[i]) :] = 1
            try:
                made = model.generate(input_ids=padded.to(model.device), attention_mask=mask.to(model.device))
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"the GPU has too little memory for {len(batch)} answers at a time",
                    f"lower answer.batch_tokens, {batch_tokens:,} now",
                ) from error
            for i, tokens in zip(batch, made[:, width:].tolist(), strict=True):
                answers[i] = _answer(tokens, prompt)
            bar.update(len(batch))
    return [answers[i] for i in range(len(ids))]


@contextmanager
def _threads(model: Any) -> Iterator[None]:
    """One thread for a small model on a CPU, whose threads would mostly wait for each other.

    284 answers of the tiny base on two busy cores: 8 s with one thread, 28 to 60 s with two that spin while they wait,
    OpenMP's default, and 5 s with two that sleep. With one, answers do not depend on the number of cores, either.
    """
    import torch

    threads = torch.get_num_threads()
    if model.device.type == "cpu" and sum(weight.numel() for weight in model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _answer(tokens: list[int], prompt: Prompt) -> Answer:
    end = next((place for place, token in enumerate(tokens) if token in prompt.stop_ids), None)
    said = tokens[:end]
    return Answer(prompt.decode(said), len(said), truncated=end is None)


def _batches(ids: "list[np.ndarray]", room: int, batch_tokens: int) -> Iterator[list[int]]:
    """Indices of rows of like length, the longest first, so that a batch too big for the memory fails at once."""
    batch: list[int] = []
    width = 0
    for i in sorted(range(len(ids)), key=lambda i: (-len(ids[i]), i)):
        if batch and (len(batch) + 1) * width > batch_tokens:
            yield batch
            batch = []
        if not batch:
            width = len(ids[i]) + room
        batch.append(i)
    if batch:
        yield batch
