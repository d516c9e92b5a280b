"""What a model writes before its answer: thoughts between marks, and the answer that follows them."""

from typing import NamedTuple


class Marks(NamedTuple):
    opening: str
    closing: str


# As published: most models; Magistral; Cohere; Seed-OSS; gpt-oss; Gemma 4; EXAONE Deep; others in plain words.
MARKS = (
    Marks("<think>", "</think>"),
    Marks("[THINK]", "[/THINK]"),
    Marks("<|START_THINKING|>", "<|END_THINKING|>"),
    Marks("<seed:think>", "</seed:think>"),
    Marks("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    Marks("<|channel>thought", "<channel|>"),
    Marks("<thought>", "</thought>"),
    Marks("<thinking>", "</thinking>"),
    Marks("<reasoning>", "</reasoning>"),
    Marks("<reflection>", "</reflection>"),
)


def split_thought(text: str) -> tuple[str, str]:
    """Thought and answer, both stripped; one of them is empty where it is not there, as of a thought that is cut off.

    The answer is what stands behind the last closing mark; that the opening one stands in the prompt is usual.
    """
    for marks in MARKS:
        thought, closed, answer = text.rpartition(marks.closing)
        if closed:
            return thought.strip().removeprefix(marks.opening).strip(), answer.strip()
        if text.lstrip().startswith(marks.opening):
            return text.strip().removeprefix(marks.opening).strip(), ""
    return "", text.strip()
