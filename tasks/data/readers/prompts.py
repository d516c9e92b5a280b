"""Take a prompt apart that was written as text: ``Context: … Question: …``, bare or in instruct tags."""


def question_of(prompt: str) -> tuple[str, str] | None:
    """Query and context of ``Context: {context}\\nQuestion: {query}``, or None where the prompt has no such form.

    The wrapper's own ``<s>``, ``[INST]``, ``<<SYS>>…<</SYS>>``, ``[/INST]`` and a closing ``Answer:`` are taken off,
    and so is an instruction on lines of its own before ``Context:``. The last ``Question:`` that starts a line divides.
    """
    text = prompt.strip().removeprefix("<s>").lstrip().removeprefix("[INST]").lstrip()
    if text.startswith("<<SYS>>"):
        text = text.partition("<</SYS>>")[2].lstrip()
    text = text.removesuffix("Answer:").rstrip().removesuffix("[/INST]").rstrip()
    if not text.startswith("Context:"):
        text = text[text.find("\nContext:") + 1 :]
    before, divided, query = text.rpartition("\nQuestion:")
    if not divided or not before.startswith("Context:"):
        return None
    return query.strip(), before.removeprefix("Context:").strip()


def answer_of(completion: str) -> str:
    """The answer of ``Answer: {answer}</s>``, of which ``Answer:`` and ``</s>`` may be absent."""
    return completion.strip().removesuffix("</s>").rstrip().removeprefix("Answer:").strip()
