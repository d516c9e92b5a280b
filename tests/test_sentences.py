"""Facts are typed: no code of the product compares, searches or cuts a sentence that it made for a person.

Looked for by the names under which sentences are kept (a problem, a remedy, a note, a headline …) and by a caught
`UserError`'s text. What other libraries say has no other form, and may be read.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SENTENCES = {"because", "headline", "note", "problem", "remedy", "status_text", "what", "why"}
READS = {"endswith", "find", "index", "partition", "removeprefix", "rpartition", "rsplit", "split", "startswith"}
PATTERNS = {"findall", "finditer", "fullmatch", "match", "search", "sub"}
READABLE = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)


def is_sentence(node: ast.AST) -> bool:
    """`problem`, `error.remedy`, `str(problem)`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in SENTENCES
        case ast.Call(func=ast.Name(id="str"), args=[inner]):
            return is_sentence(inner)
    return False


def is_text(node: ast.AST) -> bool:
    """`"never made"`, f"…", or a constant by its name; the empty text only asks whether there is one."""
    match node:
        case ast.Constant(value=str(text)):
            return bool(text)
        case ast.Name(id=name):
            return name.isupper()
    return isinstance(node, ast.JoinedStr)


def read_sentences(code: str) -> Iterator[tuple[int, str]]:
    """(line, expression) of each place that learns something from a sentence."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, READABLE):
                # `x in sentence` searches it, `sentence in {…}` and `sentence == "…"` compare it
                found = (is_sentence(left) and is_text(right)) or (is_text(left) and is_sentence(right))
            case ast.Call(func=ast.Attribute(value=value, attr=method), args=args):
                found = (method in READS and is_sentence(value)) or (method in PATTERNS and any(map(is_sentence, args)))
            case _:
                found = False
        if found:
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize(
    "code",
    [
        'problem == "never made"',
        "store_problem = problem != NEVER_MADE",
        'if "full" in error.remedy: pass',
        'verdict.headline.startswith("refused")',
        'left, right = change.note.split(" → ")',
        'state = re.search("moved to", record.because)',
        'gone = str(problem) == "it is gone"',
    ],
)
def test_a_read_sentence_is_noticed(code):
    assert list(read_sentences(code))


@pytest.mark.parametrize("code", ["note or None", 'because.strip() == ""', 'change.kind == "code"', "problem is None"])
def test_asking_whether_there_is_one_or_a_kind_is_no_reading(code):
    assert not list(read_sentences(code))


def test_no_code_of_the_product_reads_a_sentence():
    files = [path for top in ("flows", "tasks") for path in (ROOT / top).rglob("*.py")]
    assert len(files) > 100
    found = [f"{f.relative_to(ROOT)}:{line}: {text}" for f in files for line, text in read_sentences(f.read_text())]
    assert not found, "keep the fact as a field of its own, and read that"
