"""What people decide about a prompt, and the row that it is made of."""

from collections.abc import Sequence
from datetime import date
from functools import cache
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, NonNegativeInt, model_validator

from tasks.engine import NOT_A_PATH, Config, Text
from tasks.text.language import ENGLISH

USER = "Context:\n{{ context }}\n\nQuestion: {{ query }}"
VARIABLES = (
    "query, passages (a list), context (the passages, blank lines between), instruction and refusal (in the language "
    "of the row), language (its ISO 639-1 code)"
)


@cache
def _problem(template: str) -> str | None:
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        ImmutableSandboxedEnvironment().parse(template)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    return None


class PromptConfig(Config):
    """How a row becomes the turns of a chat, which the base model's own chat template renders."""

    system: Text = Field(
        "{{ instruction }} {{ refusal }}",
        description=f"Jinja of the system turn; empty: none. It knows {VARIABLES}. A base whose template has no system "
        "turn is told the same at the start of the first user turn.",
    )
    user: Text = Field(
        USER, description="Jinja of the user's turn, of the same variables. A block takes the line break behind it."
    )
    documents: bool = Field(
        False,
        description="Give the passages to the template as its `documents`, where it takes them (Granite, Cohere); "
        "`user` is then the question alone, unless it is set.",
    )
    history: NonNegativeInt | None = Field(
        None,
        description="Earlier questions, with their answers, that the model sees: the last ones. Without it all.",
    )
    thinking: Literal["off", "keep", "model"] = Field(
        "off",
        description="Thoughts before an answer. off: the template's switch is off, and a thought that it begins is "
        "closed at once; keep: it is on; model: as the template has it. Trained are answers behind an empty thought.",
    )
    today: date = Field(
        date(2024, 7, 26), description="The date that a template tells, so that a prompt is the same tomorrow."
    )
    arguments: Annotated[dict[str, str | bool | int | float], NOT_A_PATH] = Field(
        {}, description="What else the template takes, such as `reasoning_effort: low`."
    )

    @model_validator(mode="after")
    def _are_templates(self) -> "PromptConfig":
        for name in ("system", "user"):
            text = getattr(self, name)
            if text != type(self).model_fields[name].default and (problem := _problem(text)):
                raise ValueError(f"{name}: {problem}; mend the Jinja template")
        return self

    @property
    def asks(self) -> str:
        """The template of the user's turn."""
        return "{{ query }}" if self.documents and self.user == USER else self.user


class Asked(NamedTuple):
    """A question as a model is asked it."""

    passages: Sequence[str]
    query: str
    language: str = ENGLISH  # ISO 639-1
    history: Sequence[tuple[str, str]] = ()  # (role, text) of the turns before, user and assistant in turn
    examples: Sequence[tuple[str, str]] = ()  # turns before these, of other questions, as the user's turn has them
