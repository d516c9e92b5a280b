"""The forms a row may have, and how each becomes a triplet."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tasks.data.readers.identity import digest, normal
from tasks.data.readers.prompts import answer_of, question_of
from tasks.data.triplets import Triplet


class Malformed(ValueError):
    """A row that is no triplet in any form: the offending value, and the remedy."""

    def __init__(self, value: str, remedy: str) -> None:
        super().__init__(value, remedy)
        self.value = value
        self.remedy = remedy


class Parsed(NamedTuple):
    row: Triplet  # its answer as given: may be empty, or a refusal in any words
    form: str
    key: bytes  # 16 bytes: the same for rows with the same normalised query and context
    unused: frozenset[str]  # fields and chat turns that no part of the triplet came from


class Said(NamedTuple):
    """What a form says, white space trimmed."""

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


def _triplet(row: Fields) -> Said:
    return Said(_text(row, "query"), _passages(row["context"]), _text(row, "answer", empty=True))


def _instruct(row: Fields) -> Said:
    text = _text(row, "text")
    prompt, closed, rest = text.partition("[/INST]")
    if not closed:
        raise Malformed(f"text: no [/INST] in {_shorten(text)!r}", f"write {INSTRUCT}")
    return Said(*_asked(prompt, "text"), answer_of(rest))


def _prompt_completion(row: Fields) -> Said:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return _turns(prompt + completion, "prompt and completion")
    return Said(*_asked(_text(row, "prompt"), "prompt"), answer_of(_text(row, "completion", empty=True)))


def _messages(row: Fields) -> Said:
    return _turns(row["messages"], "messages")


def _turns(messages: object, field: str) -> Said:
    """The last answer and the question before it; the turns before those are named as unused."""
    if not isinstance(messages, list) or not messages:
        found = "an empty list" if messages == [] else f"{_kind(messages)}, not a list of messages"
        raise Malformed(f"{field}: {found}", f"write {CHAT}")
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if roles[-2:] != ["user", "assistant"]:
        raise Malformed(f"{field}: the roles are {', '.join(map(str, roles))}", "end with a user's turn and its answer")
    question, answer = (_content(message, field) for message in messages[-2:])
    unused = frozenset(f"{role} turns before the question" for role in roles[:-2])
    return Said(*_asked(question, f"{field}: the last user content"), answer_of(answer), unused)


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


Read = Callable[[Fields], Said]
FORMS: dict[str, tuple[frozenset[str], Read]] = {
    "triplet": (frozenset({"query", "context", "answer"}), _triplet),
    "messages": (frozenset({"messages"}), _messages),
    "prompt": (frozenset({"prompt", "completion"}), _prompt_completion),
    "text": (frozenset({"text"}), _instruct),
}
ASKED = "Context: {the passage}\\nQuestion: {the question}"
INSTRUCT = f"<s>[INST] {ASKED} [/INST]\\nAnswer: {{the answer}}</s>"
CHAT = '[{"role": "user", "content": "' + ASKED + '"}, {"role": "assistant", "content": "{the answer}"}]'
