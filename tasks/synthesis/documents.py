"""Documents as chunks: read as Markdown, cut at headings and blocks, up to a number of tokens."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from mimetypes import guess_type
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tasks.engine.errors import UserError, install

TEXTS = {".md", ".markdown", ".txt", ".text", ""}  # read as they are; all else by kreuzberg
ROWS = {".jsonl", ".ndjson"}  # a document a line
CHARACTERS = 4  # of a token, about, where no tokenizer is given
FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


class Document(NamedTuple):
    """A document as it is found: `id` is its path below the source, or the `id` of its line."""

    id: str
    title: str
    place: Path | bytes  # the file, or the text of a line
    suffix: str

    @property
    def data(self) -> bytes:
        return self.place if isinstance(self.place, bytes) else self.place.read_bytes()


class Chunk(NamedTuple):
    """A passage of a document, and the headings that it stands under."""

    document: str
    title: str
    number: int
    path: list[str]
    text: str

    @property
    def passage(self) -> str:
        """As a retriever gives it: the headings, then the text."""
        head = " > ".join(self.path)
        return self.text if not head or self.text.startswith(head) else f"{head}\n\n{self.text}"


def documents(source: Path) -> Iterator[Document]:
    """The documents of a file or folder, in order of name. Hidden files are none.

    Raises UserError for a line of JSON without text.
    """
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    for path in files:
        name = path.name if source.is_file() else path.relative_to(source).as_posix()
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if path.suffix.lower() in ROWS:
            yield from _lines(path, name)
        else:
            yield Document(name, "", path, path.suffix.lower())


def _lines(path: Path, name: str) -> Iterator[Document]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
            text = row["text"]
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"{name}:{number} is no document", 'write {"id": …, "title": …, "text": …} a line, or leave it out'
            ) from None
        yield Document(str(row.get("id") or f"{name}:{number}"), str(row.get("title") or ""), text.encode(), ".md")


def chunks(document: Document, most: int, tokenizer: Path | None) -> list[Chunk]:
    """The chunks of a document, each under one heading and of `most` tokens at most, but for a single longer block.

    Raises UserError if the file cannot be read.
    """
    title, markdown = _markdown(document)
    count = _counter(str(tokenizer) if tokenizer else None)
    found: list[Chunk] = []
    for path, blocks in _sections(markdown):
        title = title or (path[0] if path else "")
        for text in _packed(blocks, most, count):
            found.append(Chunk(document.id, title, len(found), path or ([title] if title else []), text))
    return [each._replace(title=title or document.id) for each in found]


def _markdown(document: Document) -> tuple[str, str]:
    if document.suffix in TEXTS:
        text = document.data.decode("utf-8", errors="replace").replace("\r\n", "\n")
    else:
        text = _parsed(document)
    title = document.title
    if front := FRONT.match(text):
        text = text[front.end() :]
        named = re.search(r"^(?:## )?title:\s*[\"']?(.+?)[\"']?\s*$", front[1], re.MULTILINE)
        title = title or (named[1] if named else "")
    return title, text


def _parsed(document: Document) -> str:
    """By kreuzberg, whose one wheel reads PDF, HTML, Office and some ninety more formats."""
    try:
        import kreuzberg
    except ImportError:
        raise UserError(f"{document.id} needs kreuzberg, which is not installed", install("documents")) from None
    config = kreuzberg.ExtractionConfig(output_format="markdown", use_cache=False)
    try:
        kind = guess_type(f"x{document.suffix}")[0] or "application/octet-stream"
        return str(kreuzberg.extract_bytes_sync(document.data, kind, config).content)
    except (kreuzberg.KreuzbergError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{document.id} cannot be read: {first}", "mend it, or take it out") from None


@cache
def _counter(tokenizer: str | None) -> Callable[[str], int]:
    if tokenizer is None:
        return lambda text: len(text) // CHARACTERS
    from tokenizers import Tokenizer

    encode = Tokenizer.from_file(tokenizer).encode
    return lambda text: len(encode(text, add_special_tokens=False).ids)


def _sections(markdown: str) -> Iterator[tuple[list[str], list[str]]]:
    """The blocks under each heading, with the headings above them."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    path: list[tuple[int, str]] = []
    blocks: list[str] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token.type == "heading_open":
            if blocks:
                yield [text for _, text in path], blocks
                blocks = []
            level = int(token.tag[1])
            path = [each for each in path if each[0] < level] + [(level, _plain(tokens[at + 1]))]
            at += 3
            continue
        end = _end(tokens, at)
        blocks += _blocks(tokens[at:end])
        at = end
    if blocks:
        yield [text for _, text in path], blocks


def _end(tokens: Sequence[Any], at: int) -> int:
    """Behind the block that begins here."""
    depth = 0
    for place in range(at, len(tokens)):
        depth += tokens[place].nesting
        if depth == 0:
            return place + 1
    return len(tokens)


def _blocks(tokens: Sequence[Any]) -> list[str]:
    """A paragraph, a list, a table or a piece of code as lines that can be read again; comments and HTML are none."""
    kind = tokens[0].type
    if kind == "fence" or kind == "code_block":
        return [f"```\n{tokens[0].content.rstrip()}\n```"]
    if kind == "table_open":
        return _rows(tokens)
    marked = kind in ("bullet_list_open", "ordered_list_open")
    said = [text for token in tokens if token.type == "inline" and (text := _plain(token))]
    return [f"- {text}" for text in said] if marked else said


def _rows(tokens: Sequence[Any]) -> list[str]:
    """A table as one block: rows of cells between bars."""
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_plain(token).replace("|", "/"))
    return ["\n".join(f"| {' | '.join(row)} |" for row in rows)] if rows else []


def _plain(token: Any) -> str:
    """The text of a line as a reader sees it: links and emphasis are their text, pictures none."""
    said = {"softbreak": " ", "hardbreak": " "}
    parts = []
    for each in token.children or ():
        if each.type == "code_inline":
            parts.append(f"`{each.content}`")
        else:
            parts.append(said.get(each.type, each.content if each.type == "text" else ""))
    return " ".join("".join(parts).split())


def _packed(blocks: Iterable[str], most: int, count: Callable[[str], int]) -> Iterator[str]:
    """Blocks together while they have room. Items of a list follow each other, other blocks stand apart."""
    text, used = "", 0
    for block in blocks:
        size = count(block)
        if text and used + size > most:
            yield text
            text, used = "", 0
        together = block.startswith("- ") and text.rpartition("\n")[2].startswith("- ")
        text = f"{text}{chr(10) if together else chr(10) * 2}{block}" if text else block
        used += size
    if text:
        yield text
