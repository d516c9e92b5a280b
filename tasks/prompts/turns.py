"""What is said: the turns that the config makes of a row, before any template."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tasks.engine.errors import UserError
from tasks.prompts.chat import Message
from tasks.prompts.config import VARIABLES, Asked, PromptConfig
from tasks.prompts.vocabulary import Defuser
from tasks.text.language import instruction, refusal_sentence
from tasks.text.thoughts import split_thought


class Turns:
    """The turns of a chat made from rows, as `config` says them; a `refusal` that is given replaces the languages' own.

    `defuse` takes control strings apart in passages, query, earlier turns and answer; `structure` does so in what
    `config` puts around them, and knows fewer.

    Raises UserError if a turn names an unknown variable.
    """

    def __init__(
        self,
        config: PromptConfig,
        refusal: str | None = None,
        *,
        defuse: Defuser | None = None,
        structure: Defuser | None = None,
    ) -> None:
        self.config, self._refusal = config, refusal
        self.defuse, self._structure = defuse or Defuser(()), structure or Defuser(())
        self._system, self._user = _compile(config.system, "system"), _compile(config.asks, "user")
        self._told = lru_cache(maxsize=None)(self._told_in)

    def messages(self, asked: Asked, answer: str | None = None, thought: str = "") -> list[Message]:
        """The turns of a row as a chat endpoint is sent them, control strings defused; with its answer, if given.

        The exported tokenizer's chat template makes of them the prompt that the model was trained on.
        """
        turns: list[Message] = []
        if system := self.system(asked):
            turns.append({"role": "system", "content": system})
        for role, text in self.before_question(asked):
            text = split_thought(text)[1] if role == "assistant" else text.strip()
            turns.append({"role": role, "content": self.defuse(text)})
        turns.append({"role": "user", "content": self.user(asked)})
        if answer is not None:
            said = {"role": "assistant", "content": self.defuse(answer.strip())}
            if thought:
                said |= dict.fromkeys(("reasoning_content", "thinking"), self.defuse(thought.strip()))
            turns.append(said)
        return turns

    def documents(self, asked: Asked) -> list[Message] | None:
        """The passages as the template's own documents, if they are given as such."""
        if not self.config.documents:
            return None
        passages = map(self.defuse, asked.passages)
        return [{"doc_id": str(n), "title": "", "text": each} for n, each in enumerate(passages, 1)]

    def refusal(self, code: str) -> str:
        """The sentence that refuses, in this language."""
        return refusal_sentence(code, self._refusal)

    def _said(self, template: Any, asked: Asked) -> str:
        import jinja2

        passages = [self.defuse(passage) for passage in asked.passages]
        try:
            text: str = template.render(
                passages=passages,
                context="\n\n".join(passages),
                query=self.defuse(asked.query.strip()),
                language=asked.language,
                **self._told(asked.language),
            )
            return text
        except jinja2.TemplateError as error:
            raise UserError(f"{template.name}: {error}", f"it knows {VARIABLES}") from error

    def user(self, asked: Asked) -> str:
        """What the user's turn of a row says."""
        return self._structure(self._said(self._user, asked)).strip()

    def system(self, asked: Asked) -> str:
        """What the system's turn of a row says."""
        return self._structure(self._said(self._system, asked)).strip()

    def _told_in(self, code: str) -> dict[str, str]:
        """What the model may be told in a language."""
        told = {"instruction": instruction(code), "refusal": self.refusal(code)}
        return {name: self.defuse(text) for name, text in told.items()}

    def before_question(self, asked: Asked) -> Sequence[tuple[str, str]]:
        """The turns that stand before the question."""
        most = len(asked.history) if self.config.history is None else 2 * self.config.history
        return [*asked.examples, *asked.history[max(0, len(asked.history) - most) :]]


def _compile(template: str, turn: str) -> Any:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    compiled = environment.from_string(template)
    compiled.name = f"prompt.{turn}"
    return compiled
