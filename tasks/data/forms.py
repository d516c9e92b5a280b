"""The forms that a row of JSON may have, and how each becomes a triplet.

To add a form: a function from a row to `Content`, and a line of `FORMS`.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from tasks.data.triplets import Triplet


class Malformed(ValueError):
    """A row that has none of the forms, or a field that cannot be read: the offending value, and the remedy."""

    def __init__(self, value: str, remedy: str) -> None:
        super().__init__(value, remedy)
        self.value = value
        self.remedy = remedy


class Parsed(NamedTuple):
    row: Triplet  # its answer as given: may be empty, or a refusal in any words
    form: str
    key: bytes  # 16 bytes: the same for rows with the same normalised query and context
    unused: frozenset[str]  # fields and chat turns that no part of the triplet came from


class Content(NamedTuple):
    """The parts of a row that make a triplet, white space trimmed."""

    query: str
    context: tuple[str, ...]
    answer: str
    unused: frozenset[str] = frozenset()


Fields = dict[str, Any]
OPTIONAL = frozenset({"id", "document", "gold", "value"})  # beside any form


def parse(row: object) -> Parsed:
    """The triplet that a row of parsed JSON holds, in the first of `FORMS` whose fields it has.

    Outer white space of every text is removed. `id` is derived from query and context where absent, `document` from
    the context. Raises Malformed, naming the field, what it holds and the remedy.
    """
    if not isinstance(row, dict):
        raise Malformed(f"a JSON {_kind(row)}, not an object", "write each row as one {…} on a line of its own")
    for name, (fields, read) in FORMS.items():
        if fields <= row.keys():
            query, context, answer, unused = read(row)
            passages = list(map(normal, context))
            key = digest([normal(query), *passages])
            triplet = Triplet(
                _label(row, "id") or key.hex(),
                _label(row, "document") or digest(sorted(passages)).hex(),
                query,
                context,
                answer,
                _gold(row, len(context)),
                _value(row),
            )
            return Parsed(triplet, name, key, unused.union(row.keys() - fields - OPTIONAL))
    raise Malformed(*_no_form(row))


def own_id(raw: bytes) -> str | None:
    """The `id` that a row names, even if it is malformed otherwise."""
    try:
        row = orjson.loads(raw)
        return _label(row, "id") if isinstance(row, dict) else None
    except (orjson.JSONDecodeError, Malformed):
        return None


def _triplet(row: Fields) -> Content:
    return Content(_text(row, "query"), _passages(row["context"]), _text(row, "answer", empty=True))


def _instruct(row: Fields) -> Content:
    text = _text(row, "text")
    prompt, closed, rest = text.partition("[/INST]")
    if not closed:
        raise Malformed(f"text: no [/INST] in {_shorten(text)!r}", f"write {INSTRUCT}")
    return Content(*_asked(prompt, "text"), answer_of(rest))


def _prompt_completion(row: Fields) -> Content:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return _turns(prompt + completion, "prompt and completion")
    return Content(*_asked(_text(row, "prompt"), "prompt"), answer_of(_text(row, "completion", empty=True)))


def _messages(row: Fields) -> Content:
    return _turns(row["messages"], "messages")


def _turns(messages: object, field: str) -> Content:
    """The last answer and the question before it; the turns before those are named as unused."""
    if not isinstance(messages, list) or not messages:
        found = "an empty list" if messages == [] else f"{_kind(messages)}, not a list of messages"
        raise Malformed(f"{field}: {found}", f"write {CHAT}")
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if roles[-2:] != ["user", "assistant"]:
        raise Malformed(f"{field}: the roles are {', '.join(map(str, roles))}", "end with a user's turn and its answer")
    question, answer = (_content(message, field) for message in messages[-2:])
    unused = frozenset(f"{role} turns before the question" for role in roles[:-2])
    return Content(*_asked(question, f"{field}: the last user content"), answer_of(answer), unused)


def _content(message: Fields, field: str) -> str:
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise Malformed(f"{field}: a content is {_kind(content)}", "write every content as a text")
    return content


def _asked(prompt: str, field: str) -> tuple[str, tuple[str, ...]]:
    found = question_of(prompt)
    if found is None:
        raise Malformed(f"{field}: no question about a context in {_shorten(prompt)!r}", f"write {ASKED}")
    query, context = found
    if not query or not context:
        raise Malformed(f"{field}: the {'context' if query else 'question'} is empty", f"write {ASKED}")
    return query, (context,)


def _text(row: Fields, field: str, *, empty: bool = False) -> str:
    text = row[field]
    if not isinstance(text, str):
        remedy = 'write "" where the context holds no answer' if empty and text is None else "write a text"
        raise Malformed(f"{field}: {_kind(text)}, not a text", remedy)
    text = text.strip()
    if not text and not empty:
        raise Malformed(f"{field}: empty", f"write the {field}, or remove the row")
    return text


def _passages(context: object) -> tuple[str, ...]:
    passages: Sequence[object] = context if isinstance(context, list) else [context]
    if not passages:
        raise Malformed("context: an empty list", "give at least one passage")
    stripped = []
    for index, passage in enumerate(passages):
        if not isinstance(passage, str):
            raise Malformed(f"context: {_kind(passage)} as passage {index}", "write a text, or a list of texts")
        stripped.append(passage.strip())
        if not stripped[-1]:
            raise Malformed(f"context: passage {index} is empty", "leave empty passages out")
    return tuple(stripped)


def _label(row: Fields, field: str) -> str | None:
    """An `id` or `document`: a text or a whole number; null and blank count as absent."""
    label = row.get(field)
    if label is None or isinstance(label, str):
        return (label or "").strip() or None
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    raise Malformed(f"{field}: {_kind(label)}", f"write the {field} as a text, or leave it out")


def _gold(row: Fields, passages: int) -> tuple[int, ...] | None:
    gold = row.get("gold")
    if gold is None:
        return None
    indices = gold if isinstance(gold, list) else [gold]
    if not all(isinstance(index, int) and not isinstance(index, bool) for index in indices):
        raise Malformed(
            f"gold: {_shorten(repr(gold))}", "list the indices of the passages that hold the answer, from 0"
        )
    if not all(0 <= index < passages for index in indices):
        raise Malformed(
            f"gold: {_shorten(repr(gold))}, but the passages are 0 to {passages - 1}", "count passages from 0"
        )
    return tuple(sorted(set(indices)))


def _value(row: Fields) -> str | None:
    value = row.get("value")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    raise Malformed(f"value: {_kind(value)}", "write the short value as a text, or leave it out")


def _no_form(row: Fields) -> tuple[str, str]:
    has = ", ".join(sorted(map(str, row))[:12]) or "none"
    name, (fields, _) = max(FORMS.items(), key=lambda form: len(form[1][0] & row.keys()))
    lacks = ", ".join(sorted(fields - row.keys()))
    near = f" (it lacks {lacks} to be a {name} row)" if fields & row.keys() else ""
    forms = " or ".join("{" + ", ".join(sorted(fields)) + "}" for fields, _ in FORMS.values())
    return f"no form has the fields {has}{near}", f"write {forms}"


def _kind(value: object) -> str:
    kinds = {str: "text", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def _shorten(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


Read = Callable[[Fields], Content]
FORMS: dict[str, tuple[frozenset[str], Read]] = {
    "triplet": (frozenset({"query", "context", "answer"}), _triplet),
    "messages": (frozenset({"messages"}), _messages),
    "prompt": (frozenset({"prompt", "completion"}), _prompt_completion),
    "text": (frozenset({"text"}), _instruct),
}
ASKED = "Context: {the passage}\\nQuestion: {the question}"
INSTRUCT = f"<s>[INST] {ASKED} [/INST]\\nAnswer: {{the answer}}</s>"
CHAT = '[{"role": "user", "content": "' + ASKED + '"}, {"role": "assistant", "content": "{the answer}"}]'


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


DIGEST_BYTES = 16
WHITE_SPACE = b" \t\n\r\v\f"


def normal(text: str) -> bytes:
    """The text without what does not change its meaning: letter case, white space, Unicode's compatibility forms."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return text.casefold().encode().translate(None, WHITE_SPACE)


def digest(parts: Iterable[bytes]) -> bytes:
    """16 bytes of BLAKE2b over the parts; where one part ends matters."""
    hashed = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        hashed.update(b"%d:" % len(part))
        hashed.update(part)
    return hashed.digest()
