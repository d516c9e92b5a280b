"""The writer that needs no model: questions that a sentence, a line or a table of a chunk answers in its own words."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tasks.synthesis.documents import Chunk
from tasks.text import content_stems, sentences

QUESTIONS = "tasks/synthesis/questions.yaml"  # from the project's root

NAME = r"(?:The |An? )?(?:`[^`]+`|[A-Z][\w.+/-]*)(?: (?:`[^`]+`|[\w.+/-]+)){0,4}?"
WORDS = range(4, 41)  # of a sentence that is asked about


class Pair(NamedTuple):
    """A question and its answer; `value` where the answer is one, `line` the text of the chunk that states it."""

    query: str
    answer: str
    line: str
    kind: str
    value: str | None = None


class Forms(NamedTuple):
    """How a language asks, from questions.yaml."""

    value: list[str]
    alone: list[str]
    verbs: Sequence[str] = ()
    no_names: frozenset[str] = frozenset()


Rule = tuple[str, "re.Pattern[str]", Callable[["re.Match[str]"], str]]


def _lower(name: str) -> str:
    """A name inside a sentence: only an article loses its capital."""
    return re.sub(r"^(The|An?) ", lambda found: found[0].lower(), name)


def _base(verb: str) -> str:
    return f"{verb[:-3]}y" if verb.endswith("ies") else verb[:-1]


def _is(found: "re.Match[str]") -> str:
    return f"What {found['is']} {_lower(found['x'])}?"


def _how(found: "re.Match[str]") -> str:
    return f"How do you {found['do']}?"


def _if(found: "re.Match[str]") -> str:
    told = re.match(
        r"(?:you (?:should|can|must|need|may)|use|set|run|see|add|pass|make|try|call|check)\b", found["rest"]
    )
    return f"What should you do if {found['c']}?" if told else f"What happens if {found['c']}?"


@cache
def _rules() -> tuple[Rule, ...]:
    """What an English sentence answers: the whole sentence is matched."""
    verbs = "|".join(_forms()["en"].verbs)
    return (
        ("definition", re.compile(rf"(?P<x>{NAME}) (?P<is>is|are) (?:an?|the|used|one|designed|meant)\b.+"), _is),
        (
            "property",
            re.compile(rf"(?P<x>{NAME}) (?P<v>{verbs}) .+"),
            lambda found: f"What does {_lower(found['x'])} {_base(found['v'])}?",
        ),
        ("how", re.compile(r"To (?P<do>[a-z][^,;:]{3,80}), .+"), _how),
        ("how", re.compile(r"(?:You can u|U)se [^,;:]{2,60}? to (?P<do>[a-z][^,;:]{3,80})\."), _how),
        ("if", re.compile(r"If (?P<c>[^,;:]{5,90}), (?:then )?(?P<rest>.+)"), _if),
        ("when", re.compile(r"When (?P<c>[^,;:]{5,90}), .+"), lambda found: f"What happens when {found['c']}?"),
    )


VALUES = (
    re.compile(r"(?P<a>[^\W\d_][\w/() -]{1,40})\s?[:：]\s?(?P<v>\S[^:：]{0,80}?)[.。]?"),
    re.compile(r"The (?P<a>[a-z][\w -]{1,40}?) (?:is|are) (?P<v>(?!not\b|an?\b|the\b)[\w%°€$£+−-][^,;:]{0,30}?)\."),
    re.compile(r"(?:It|This \w+) has an? (?P<a>[a-z][\w -]{1,40}?) of (?P<v>[^,;:]{1,30}?)\."),
)


def pairs(chunk: Chunk, code: str, most: int) -> list[Pair]:
    """Up to `most` questions that the chunk answers, spread over it; none for a language without forms."""
    if code not in _forms():
        return []
    found = list(_tables(chunk, code))
    for line in _lines(chunk, code):
        if pair := _value(chunk, line, code) or (_sentence(line) if code == "en" else None):
            found.append(pair)
    asked: dict[str, set[str]] = {}
    for pair in found:
        asked.setdefault(pair.query.casefold(), set()).add(pair.answer)
    kept = [pair for pair in dict.fromkeys(found) if len(asked[pair.query.casefold()]) == 1]
    return sorted(sorted(kept, key=lambda pair: _lot(chunk.document, pair.line))[:most], key=found.index)


@cache
def _forms() -> dict[str, Forms]:
    import yaml

    said = yaml.safe_load((Path(__file__).parents[2] / QUESTIONS).read_text(encoding="utf-8"))
    return {
        code: Forms(
            each["value"], each["alone"], each.get("verbs", "").split(), frozenset(each.get("no_names", "").split())
        )
        for code, each in said.items()
    }


def _lot(*texts: str) -> int:
    return int.from_bytes(sha256("\0".join(texts).encode()).digest()[:8])


def _lines(chunk: Chunk, code: str) -> Iterator[str]:
    """Sentences and items; code and tables are none."""
    for number, part in enumerate(chunk.text.split("```")):
        if number % 2:
            continue
        for line in part.splitlines():
            if line.startswith("|") or not line.strip():
                continue
            item = line.removeprefix("- ")
            yield from [item] if item != line and len(item) < 120 else sentences(item, code)


def _value(chunk: Chunk, line: str, code: str) -> Pair | None:
    for rule in VALUES if code == "en" else VALUES[:1]:
        found = rule.fullmatch(line.strip())
        if not found or len(found["v"].split()) > 12:
            continue
        if found["a"].split()[0].casefold() not in _forms()["en"].no_names and len(found["a"].split()) <= 5:
            return _asked(chunk, found["a"].strip(), found["v"].strip(), line, code)
    return None


def _asked(chunk: Chunk, name: str, value: str, line: str, code: str, thing: str = "") -> Pair:
    """A question for a value. What has it is named: a row of a table, or what the document is about."""
    name = name if name[1:2].isupper() or not name[0].isupper() or code == "de" else name[0].lower() + name[1:]
    thing = thing or _thing(chunk)
    forms = _forms()[code].value if thing else _forms()[code].alone
    form = forms[_lot(chunk.document, name) % len(forms)]
    query = form.format(a=name, t=thing)
    return Pair(query[0].upper() + query[1:], value, line, "value", value)


def _thing(chunk: Chunk) -> str:
    """The name of what a document of one thing is about: its id, where the text has it."""
    name = chunk.document
    return name if name in chunk.passage else chunk.title if re.search(r"\d", chunk.title) else ""


def _tables(chunk: Chunk, code: str) -> Iterator[Pair]:
    """What stands in each column for the thing in the first."""
    for block in re.findall(r"(?:^\|.*\|$\n?)+", chunk.text, re.MULTILINE):
        head, *rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()]
        for row, line in zip(rows, block.splitlines()[1:], strict=True):
            for name, value in zip(head[1:], row[1:], strict=False):
                if name and value and row[0] and max(map(len, (name, row[0]))) < 50 and len(value) < 200:
                    yield _asked(chunk, name, value, line, code, row[0])


def _sentence(line: str) -> Pair | None:
    line = line.strip()
    words = line.split()
    if len(words) not in WORDS or not line.endswith(".") or line.count("`") % 2 or "**" in line or "://" in line:
        return None
    if re.search(r"\b(?:this|these|above|below|following|here)\b", line, re.IGNORECASE):
        return None  # it speaks of something outside of itself
    for kind, rule, query in _rules():
        found = rule.fullmatch(line)
        if not found or ("x" in found.groupdict() and not _names(found["x"])):
            continue
        asked = query(found)
        if kind in ("how", "if", "when") and not _stands_alone(asked):
            continue
        if all(asked.count(mark) % 2 == 0 for mark in '`"') and asked.count("(") == asked.count(")"):
            return Pair(asked, line, line, kind)
    return None


def _stands_alone(query: str) -> bool:
    """Whether a question with how, if or when has a subject of its own."""
    if re.search(r"\b(?:it|its|they|them|their)\b", query):
        return False
    return not re.search(r"\b(?:if|when) (?:\w+\?|\w+ed|\w+ing|set|not|no|true|false|null|possible|in|on|at)\b", query)


def _names(name: str) -> bool:
    """Whether it names something by itself."""
    first, *others = re.sub(r"^(?:The|An?) ", "", name).split()
    known = _forms()["en"]
    if first.strip("`").casefold() in known.no_names or first.casefold() in known.verbs:
        return False
    return bool(content_stems(name)) and not any(
        word in ("a", "an", "the", "and", "or", "to", "that") for word in others
    )
