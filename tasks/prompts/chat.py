"""The chat template of a base model, as transformers and the servers render it, made to render one thing only.

`served` puts around a published template what makes a prompt ours: dates that stay, thoughts switched on or off, a
system turn where the template has none, control strings in text taken apart. The result is the template of training,
answering and the exported tokenizer alike.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache, lru_cache
from typing import Any, NamedTuple

from tasks.engine.errors import UserError
from tasks.text.thoughts import MARKS, Marks

Message = dict[str, str]
# What templates call the switch, and their values for off and on. One that a template does not know does nothing.
SWITCHES: dict[str, dict[str, Any]] = {
    "off": {"enable_thinking": False, "thinking": False, "thinking_budget": 0},
    "keep": {"enable_thinking": True, "thinking": True},
    "model": {},
}
# Of a set inside of a loop only a namespace's outlives it. Text leaves by no line of this but those of the suffix.
_AROUND = """\
{%- set reground = namespace(messages=[], text='') -%}
{%- for message in messages -%}
{%- if message.content is string -%}
{%- set reground.text = message.content -%}
{%- if message.role == 'assistant' and CLOSING in reground.text -%}
{%- set reground.text = reground.text.split(CLOSING)[-1] -%}
{%- endif -%}
{%- for control in CONTROLS -%}
{%- if control in reground.text -%}
{%- set reground.text = reground.text.replace(control, control[0] ~ ' ' ~ control[1:]) -%}
{%- endif -%}
{%- endfor -%}
{%- set reground.messages = reground.messages + [dict(message, content=reground.text.strip())] -%}
{%- else -%}
{%- set reground.messages = reground.messages + [message] -%}
{%- endif -%}
{%- endfor -%}
"""
_SYSTEM = """\
{%- if reground.messages and reground.messages[0].role != 'system' -%}
{%- set reground.messages = [{'role': 'system', 'content': SYSTEM}] + reground.messages -%}
{%- endif -%}
"""
_FOLDED = """\
{%- if reground.messages | length > 1 and reground.messages[0].role == 'system' -%}
{%- set reground.text = (reground.messages[0].content ~ '\\n\\n' ~ reground.messages[1].content).strip() -%}
{%- set reground.messages = [dict(reground.messages[1], content=reground.text)] + reground.messages[2:] -%}
{%- endif -%}
"""
_PARTS = """\
{%- set reground.text = reground.messages -%}
{%- set reground.messages = [] -%}
{%- for message in reground.text -%}
{%- set reground.messages = reground.messages + [dict(message, content=[{'type': 'text', 'text': message.content}])] -%}
{%- endfor -%}
"""
_LAST = "{%- set messages = reground.messages %}\n"


class Around(NamedTuple):
    """What `served` puts around a template."""

    arguments: Mapping[str, Any]
    today: date
    controls: Sequence[str] = ()  # strings that text must not hold
    system: str | None = None  # of a chat that has no system turn
    folds: bool = False  # the system turn into the first user turn
    parts: bool = False  # every content as a list of parts, as templates of models that read pictures want it
    suffix: str = ""  # of a prompt


def served(template: str, around: Around) -> str:
    """The template with all of this around it: one that renders our prompts from system, earlier turns and question."""
    values = {**around.arguments, "date_string": around.today.strftime("%d %b %Y")}
    dates = {form: around.today.strftime(form) for form in re.findall(r"strftime_now\(\s*['\"]([^'\"]+)", template)}
    marks = marks_of(template, around.controls) or MARKS[0]
    controls = sorted({each for each in around.controls if len(each) > 1}, key=lambda each: (-len(each), each))
    before = "".join(f"{{%- set {name} = {_literal(value)} -%}}\n" for name, value in values.items())
    before += f"{{%- macro strftime_now(form) -%}}{{{{- {_literal(dates)}.get(form, '{around.today}') -}}}}"
    before += "{%- endmacro -%}\n"
    before += _AROUND.replace("CLOSING", _literal(marks.closing)).replace("CONTROLS", _literal(controls))
    before += _SYSTEM.replace("SYSTEM", _literal(around.system)) if around.system else ""
    after = f"{{%- if add_generation_prompt %}}{{{{- {_literal(around.suffix)} }}}}{{%- endif %}}" * bool(around.suffix)
    return before + _FOLDED * around.folds + _PARTS * around.parts + _LAST + template.removesuffix("\n") + after


def _literal(value: Any) -> str:
    """Plain data as Jinja writes it."""
    return json.dumps(value, ensure_ascii=False)


def marks_of(template: str, tokens: Iterable[str]) -> Marks | None:
    """The marks that this model puts around a thought; None for a model that has none."""
    known = set(tokens)
    return next(
        (marks for marks in MARKS if marks.closing in template or marks.opening in template or marks.closing in known),
        None,
    )


class Chat:
    """A chat template, compiled once, with the settings of transformers.

    Raises UserError for a template that does not compile, and for turns that it refuses.
    """

    def __init__(self, template: str, tokens: Mapping[str, Any], name: str) -> None:
        import jinja2

        self._name, self._tokens = name, dict(tokens)
        try:
            self._template = _compiled(template)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"{name}:{error.lineno}: {error.message}", "mend the chat template") from error

    def __call__(
        self, messages: Sequence[Message], *, ask: bool, documents: Sequence[Mapping[str, str]] | None = None
    ) -> str:
        """The text; with `ask` up to where the answer begins."""
        import jinja2

        given: dict[str, Any] = {"messages": messages, "tools": None, "documents": documents}
        try:
            text: str = self._template.render(self._tokens | given, add_generation_prompt=ask)
            return text
        except (jinja2.TemplateError, TypeError, ValueError, LookupError) as error:
            raise UserError(
                f"{self._name} refuses these turns: {error}",
                "set prompt.template to a chat template (.jinja) that takes them, or change prompt.system",
            ) from error


@lru_cache(maxsize=16)
def _compiled(template: str) -> Any:
    return _environment().from_string(template)


@cache
def _environment() -> Any:
    """As transformers has it; what it calls `generation` marks what is learnt, and renders as it stands."""
    import jinja2.ext
    from jinja2.nodes import CallBlock
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return CallBlock(self.call_method("_as_it_stands"), [], [], body).set_lineno(line)

        def _as_it_stands(self, caller: Any) -> Any:
            return caller()

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **form: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    return environment
