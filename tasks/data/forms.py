"""The forms that a row of JSON may have, and how each becomes a triplet.

To add a form: a function from a row to `Content`, and a line of `FORMS`. Rows of others' names become one of these by
a mapping of fields: a preset is an entry of `forms.yaml`.
"""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from tasks.data.conversations import ASKED, Content, Turn, answer_of, conversation, in_turn, question_of, turns_of
from tasks.data.identity import digest, document_of, normal_each
from tasks.data.names import names
from tasks.data.parsing import Malformed, loads, shorten
from tasks.data.triplets import Triplet
from tasks.engine.step import NOT_A_PATH, Config

FieldName = Literal[
    "query", "context", "answer", "id", "document", "gold", "value", "history",
    "messages", "prompt", "completion", "text",
]  # fmt: skip


class RowFormat(Config):
    """What the fields of the rows are called."""

    format: Literal["ragas", "alpaca", "dolly", "sharegpt", "squad", "hotpotqa", "ms_marco", "raft"] | None = Field(
        None,
        description="Read rows by the names of this format. Without it: triplets, messages, prompt and completion, "
        "or text, each row by its fields.",
    )
    fields: Annotated[dict[FieldName, str], NOT_A_PATH] = Field(
        {},
        description="Our name of a field, and the one that the rows have, such as `query: question`. A dot leads into "
        "an object, such as `document: metadata.source`.",
    )

    def renamed(self, row: "Fields") -> "Fields":
        """What the row has of our fields under the names of the format and of `fields`, in place of it by our names."""
        wanted: dict[str, list[str]] = {ours: [place] for ours, place in self.fields.items()}
        if self.format:
            preset = names().presets[self.format].fields
            required = {name for name in preset if name in REQUIRED}
            if all(_first(row, preset[name]) is not None or name in row for name in required):
                wanted = preset | wanted
        found = {ours: value for ours, places in wanted.items() if (value := _first(row, places)) is not None}
        if isinstance(answer := found.get("answer"), list):  # several right ones: the first
            found["answer"] = answer[0] if answer else ""
        return found

    def read_names(self, row: "Fields") -> set[str]:
        """The row's own names of the fields that are read under other names."""
        preset = names().presets[self.format].fields if self.format else {}
        places = [place for each in preset.values() for place in each] + list(self.fields.values())
        return {place if place in row else place.partition(".")[0] for place in places}


class Parsed(NamedTuple):
    row: Triplet  # its answer as given: may be empty, or a refusal in any words
    form: str
    key: bytes  # 16 bytes: the same for rows with the same normalised query, context and history
    has_id: bool  # of its own
    unused: frozenset[str]  # fields and chat turns that no part of the triplet came from


Fields = dict[str, Any]
OPTIONAL = frozenset({"id", "document", "gold", "value", "language", "history"})  # beside any form
REQUIRED = frozenset({"query", "context", "answer", "messages"})
AS_GIVEN = RowFormat()


def parse(row: object, form: RowFormat = AS_GIVEN) -> Parsed:
    """The triplet that a row of parsed JSON holds, in the first of `FORMS` whose fields it has.

    Outer white space of every text is removed. `id` is derived from query and context where absent, `document` from
    the context. Raises Malformed, naming the field, what it holds and the remedy.
    """
    if isinstance(row, list) and row and all(isinstance(each, dict) and "role" in each for each in row):
        row = {"messages": row}
    if not isinstance(row, dict):
        raise Malformed(
            f"a JSON {_kind(row)}, not an object: {shorten(repr(row))}", "write each row as one {…} on a line"
        )
    renames = form.format is not None or bool(form.fields)
    given = row | form.renamed(row) if renames else row
    for name, (fields, read) in FORMS.items():
        if fields <= given.keys():
            query, context, answer, history, unused, titles = read(given)
            asked = normal_each([query, *context, *(text for _, text in history)])
            key, passages = digest(asked), asked[1 : 1 + len(context)]
            own_id = _label(given, "id")
            triplet = Triplet(
                own_id or key.hex(),
                _label(given, "document") or document_of(passages),
                query,
                context,
                answer,
                _gold(given, context, titles),
                _value(given),
                language=_language(given),
                history=history,
            )
            known = fields | OPTIONAL | form.read_names(row) if renames else fields | OPTIONAL
            return Parsed(triplet, name, key, own_id is not None, unused.union(row.keys() - known))
    raise Malformed(*no_form(row))


def own_id(raw: bytes) -> str | None:
    """The `id` that a row names, even if it is malformed otherwise."""
    try:
        row = loads(raw)
        return _label(row, "id") if isinstance(row, dict) else None
    except Malformed:
        return None


def _first(row: Fields, places: Iterable[str]) -> Any:
    """What stands at the first of some places that the row has; None for none."""
    return next((found for place in places if (found := _at(row, place)) not in (None, [None])), None)


def _at(value: Any, place: str) -> Any:
    """What stands at a place such as ``answers.text``; of a list, what stands there in each of its objects."""
    if isinstance(value, dict) and (place in value or "." not in place):
        return value.get(place)
    name, _, rest = place.partition(".")
    if isinstance(value, list):
        found = [_at(each, place) for each in value]
        return None if None in found else found
    return _at(value.get(name), rest) if rest and isinstance(value, dict) else None


def _triplet(row: Fields) -> Content:
    query, context = _text(row, "query"), row["context"]
    if context in ("", None) and (asked := question_of(query)):
        query, context = asked
    passages, titles = _passages(context)
    history, unused = _history(row)
    return Content(query, passages, _answer(row["answer"]), history, frozenset(unused), titles=titles)


def _instruct(row: Fields) -> Content:
    text = _text(row, "text")
    if turns := turns_of(text):
        return conversation(turns, "text")
    sections = (section.partition(":") for section in text.split("### "))
    named = {name.strip().lower(): rest.strip() for name, _, rest in sections}
    if all(map(named.get, ("instruction", "input", "response"))):  # Alpaca's
        return Content(named["instruction"], (named["input"],), named["response"])
    raise Malformed(f"text: no [/INST] in {shorten(text)!r}", f"write {INSTRUCT}")


def _prompt_completion(row: Fields) -> Content:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) or isinstance(completion, list):
        before = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        last = completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]
        return conversation([*before, *last], "prompt and completion")
    answer = answer_of(_answer(completion, "completion"))
    if not answer:
        raise Malformed("completion: empty", "write the answer, or the refusal sentence where the context holds none")
    text = _text(row, "prompt")
    found = question_of(text)
    if found is None:
        raise Malformed(f"prompt: no question about a context in {shorten(text)!r}", f"write {ASKED}")
    query, context = found
    if not query or not context:
        raise Malformed(f"prompt: the {'context' if query else 'question'} is empty", f"write {ASKED}")
    return Content(query, (context,), answer)


def _text(row: Fields, field: str) -> str:
    text = row[field]
    if not isinstance(text, str):
        raise Malformed(f"{field}: {_shown(text)}, not a text", "write a text")
    text = text.strip()
    if not text:
        raise Malformed(f"{field}: empty", f"write the {field}, or remove the row")
    return text


def _answer(answer: object, field: str = "answer") -> str:
    """An answer as text; "" where it is null or an empty list, as some write where there is none."""
    if answer in (None, [], {}):
        return ""
    if isinstance(answer, (int, float)) and not isinstance(answer, bool) and answer == answer:
        return str(answer)
    if not isinstance(answer, str):
        raise Malformed(f"{field}: {_shown(answer)}, not a text", "write one text: the sentence that is right")
    if "<ANSWER>:" in answer:  # of RAFT: quotations and thoughts stand before it
        answer = answer.rpartition("<ANSWER>:")[2]
    return (
        answer.replace("##begin_quote##", "").replace("##end_quote##", "").strip() if "##" in answer else answer.strip()
    )


def _passages(context: object) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
    """The passages and the title of each: texts, objects with a text, or [title, [sentence, …]]."""
    if isinstance(context, dict) and isinstance(context.get("sentences"), list):  # in columns
        titles = context.get("title") or [None] * len(context["sentences"])
        context = [list(each) for each in zip(titles, context["sentences"], strict=False)]
    passages = context if isinstance(context, list) else [context]
    if len(passages) == 1 and isinstance(passages[0], list) and all(isinstance(each, str) for each in passages[0]):
        passages = passages[0]
    if not passages:
        raise Malformed("context: an empty list", "give at least one passage")
    if all([type(passage) is str for passage in passages]) and all(plain := list(map(str.strip, passages))):
        return tuple(plain), ()
    texts: list[str] = []
    titles = []
    for index, passage in enumerate(passages):
        title = None
        if isinstance(passage, dict):
            text = _first(passage, names().passage)
            title = _first(passage, names().title)
        elif isinstance(passage, list) and len(passage) == 2 and isinstance(passage[1], list):
            title, text = passage[0], "".join(map(str, passage[1]))
        else:
            text = passage
        if not isinstance(text, str):
            raise Malformed(
                f"context: {_shown(passage)} as passage {index}",
                "write a text, a list of texts, or objects with a `text` each",
            )
        text = text.strip()
        if not text:
            raise Malformed(f"context: passage {index} is empty", "leave empty passages out")
        title = title.strip() if isinstance(title, str) else None
        texts.append(f"{title}\n{text}" if title and title.casefold() not in text.casefold() else text)
        titles.append(title)
    return tuple(texts), tuple(titles)


def _history(row: Fields) -> tuple[tuple[Turn, ...], set[str]]:
    """The turns before, in turn, and the names of what is none of them."""
    history = row.get("history")
    if not history:
        return (), set()
    turns = []
    for turn in history if isinstance(history, list) else [history]:
        if not isinstance(turn, dict) or not all(isinstance(turn.get(each), str) for each in ("role", "content")):
            raise Malformed(f"history: {_shown(turn)}", 'write [{"role": "user", "content": "…"}, …]')
        role = turn["role"].lower()
        turns.append((names().roles.get(role, role), turn["content"].strip()))
    spoken = [turn for turn in turns if turn[0] in ("user", "assistant") and turn[1]]
    kept, unused = in_turn(spoken)
    return kept, unused | {f"{role} turns in history" for role, text in turns if (role, text) not in spoken}


def _label(row: Fields, field: str) -> str | None:
    """An `id` or `document`: a text or a whole number; null and blank count as absent."""
    label = row.get(field)
    if label is None or isinstance(label, str):
        return (label or "").strip() or None
    if isinstance(label, (int, float)) and not isinstance(label, bool) and label % 1 == 0:
        return str(int(label))
    raise Malformed(f"{field}: {_shown(label)}", f"write the {field} as a text, or leave it out")


def _gold(row: Fields, context: tuple[str, ...], titles: tuple[str | None, ...]) -> tuple[int, ...] | None:
    """The indices of the passages that hold the answer, from `gold`, or as datasets mark them."""
    gold = row.get("gold")
    if isinstance(flags := row.get("gold_flag"), list):
        gold = [index for index, flag in enumerate(flags) if flag]
    elif isinstance(passage := row.get("gold_passage"), str):
        gold = [index for index, text in enumerate(context) if text == passage.strip()] or None
    elif isinstance(named := row.get("gold_title"), list):
        wanted = {each[0] if isinstance(each, list) and each else each for each in named}
        gold = [index for index, title in enumerate(titles) if title in wanted] or None
    if gold is None:
        return None
    indices = gold if isinstance(gold, list) else [gold]
    if not all(isinstance(index, int) and not isinstance(index, bool) for index in indices):
        remedy = "list the indices of the passages that hold the answer, from 0"
        raise Malformed(f"gold: {shorten(repr(gold))}", remedy)
    if not all(0 <= index < len(context) for index in indices):
        raise Malformed(
            f"gold: {shorten(repr(gold))}, but the passages are 0 to {len(context) - 1}", "count passages from 0"
        )
    return tuple(sorted(set(indices)))


def _value(row: Fields) -> str | None:
    value = row.get("value")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        return str(value)
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    raise Malformed(f"value: {_shown(value)}", "write the short value as a text, or leave it out")


def _language(row: Fields) -> str:
    """The ISO 639-1 code that a row names: of "pt-BR" the first part; "" for none."""
    code = row.get("language")
    if code is None or isinstance(code, str) and re.fullmatch(r"(?:[a-zA-Z]{2,3}(?:[-_]\w+)?|auto)?", code):
        return "" if code == "auto" else re.split("[-_]", code or "")[0].lower()
    raise Malformed(f"language: {_shown(code)}", 'write the ISO 639-1 code of the language, such as "de"')


def no_form(row: Fields) -> tuple[str, str]:
    """What fields there are, and the preset or the mapping by which the row can be read."""
    has = ", ".join(sorted(map(str, row))[:12]) or "none"
    what = f"no form has the fields {has}"
    for name, preset in names().presets.items():
        if any(all(_at(row, place) is not None for place in sign) for sign in preset.signs):
            return what, f"looks like {preset.title}: set data.format: {name}"
    nearest = {name: _nearest(row, fields) for name, (fields, _) in FORMS.items()}
    name, (fields, _) = max(FORMS.items(), key=lambda form: len(nearest[form[0]]) / len(form[1][0]))
    mapping = nearest[name]
    if set(mapping) == fields:
        renamed = ", ".join(f"{ours}: {theirs}" for ours, theirs in sorted(mapping.items()) if ours != theirs)
        return what, f"set data.fields: {{{renamed}}}, or name the fields so"
    lacks = ", ".join(sorted(fields - mapping.keys()))
    near = f" (it lacks {lacks} to be a {name} row)" if mapping else ""
    forms = " or ".join("{" + ", ".join(sorted(fields)) + "}" for fields, _ in FORMS.values())
    return what + near, f"write {forms}, or set data.fields"


def _nearest(row: Fields, fields: Iterable[str]) -> dict[str, str]:
    """For each of our fields, the row's field of that name, of nearly that name, or of one that means it."""
    by_case = {str(name).casefold().replace("-", "_").strip(): name for name in row}
    found: dict[str, str] = {}
    for ours in fields:
        for wanted in (ours, *names().synonyms.get(ours, ())):
            if wanted in by_case and by_case[wanted] not in found.values():
                found[ours] = by_case[wanted]
                break
        else:
            if close := get_close_matches(ours, set(by_case) - set(found.values()), 1, 0.8):
                found[ours] = by_case[close[0]]
    return found


def _shown(value: object) -> str:
    """A value of a type that does not belong there."""
    if isinstance(value, float) and value != value:
        return "NaN"
    return _kind(value) if value is None else f"{_kind(value)} {shorten(repr(value))}"


def _kind(value: object) -> str:
    kinds = {str: "text", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


Read = Callable[[Fields], Content]
FORMS: dict[str, tuple[frozenset[str], Read]] = {
    "triplet": (frozenset({"query", "context", "answer"}), _triplet),
    "messages": (frozenset({"messages"}), lambda row: conversation(row["messages"], "messages")),
    "prompt": (frozenset({"prompt", "completion"}), _prompt_completion),
    "text": (frozenset({"text"}), _instruct),
}
INSTRUCT = f"<s>[INST] {ASKED} [/INST]\\nAnswer: {{the answer}}</s>"
