"""A shard's sketch: documents and contexts of its rows, as hashes, for comparing rows across shards."""

import io
import re
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.data.identity import is_derived, passage_id
from tasks.data.triplets import Triplet, parse_triplets

if TYPE_CHECKING:
    import numpy as np

# The smallest shingles of a context are kept: all for up to 128 words, so that similarity is exact; half for 250 words,
# where a similarity of .8 has an error of ±.05 (95 %).
SHINGLES = 128
BATCH = 256  # contexts at a time: their words take some 60 bytes each while they are hashed
WORDS = 5  # of a shingle
# Capitals become small, ASCII that is neither letter nor digit becomes space, bytes beyond ASCII stay.
_AS_WORDS = bytes(byte if byte > 127 else ord(chr(byte).lower()) if chr(byte).isalnum() else 32 for byte in range(256))
_FILLING = b" \x7f" * WORDS
# Of scripts without spaces (Thai to Khmer, Chinese, Japanese) each character is a word.
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_BETWEEN = re.compile(
    "[\u00ab\u00bb\u060c\u061b\u061f\u0964\u0965\u2010-\u2027\u2030-\u205e\u3000-\u3003\u3008-\u301f]"
)
_SPREAD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: multiplying by it spreads the bits (Knuth)
SPLIT_OFF = ("evaluation", "heldout")  # sides that a share of the documents is for


class Sketch(NamedTuple):
    """Arrays over the rows of a shard that are not left out, over its distinct documents and its distinct contexts.

    Documents and contexts are numbered in the order of their first row.
    """

    numbers: "np.ndarray"  # uint32 per row: its number in the shard, those left out counted
    documents: "np.ndarray"  # uint32 per row
    contexts: "np.ndarray"  # uint32 per row
    names: "np.ndarray"  # uint64 per document: a hash of its name
    places: "np.ndarray"  # float64 per document, one column for each of `SPLIT_OFF`
    passages: "np.ndarray"  # uint64, of the documents whose name is derived from them: see `passage_id`; conversations
    owners: "np.ndarray"  # uint32 per passage: its document
    evidence: "np.ndarray"  # bool per passage: a row's answer comes from it
    shingles: "np.ndarray"  # uint32: the smallest shingles of each context, sorted
    ends: "np.ndarray"  # int64 per context: where its shingles end

    @classmethod
    def read(cls, path: Path) -> "Sketch":
        import numpy as np

        with np.load(path, allow_pickle=False) as arrays:
            return cls(**arrays)


class Documents(NamedTuple):
    """The distinct documents of a shard alone: these arrays of its `Sketch`."""

    names: "np.ndarray"
    places: "np.ndarray"
    passages: "np.ndarray"
    owners: "np.ndarray"
    evidence: "np.ndarray"

    @classmethod
    def read(cls, path: Path) -> "Documents":
        import numpy as np

        with np.load(path, allow_pickle=False) as arrays:
            return cls(*(arrays[field] for field in cls._fields))


def sketch(rows: bytes, left_out: list[int], salt: str, every: bool = False) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The sketch of a file of triplets; `left_out` numbers the rows that do not count.

    `every`: it has the passages of all documents, not only of those whose name is derived from them.
    """
    import numpy as np

    documents: dict[str, int] = {}
    contexts: dict[str, int] = {}
    held: dict[tuple[int, int], bool] = {}  # (document, passage): whether it is evidence
    by_row = []
    read = list(parse_triplets(rows, left_out))
    talks = any(row.history for row in read)
    for row in read:
        document = documents.setdefault(row.document, len(documents))
        by_row.append((document, contexts.setdefault("\n".join(row.context), len(contexts))))
        if every or is_derived(row.document, row.context):
            evidence = evidence_of(row)
            for index, passage in enumerate(map(passage_id, row.context)):
                held[document, passage] = held.get((document, passage), False) or index in evidence
        if talks and (row.history or not row.refusal):  # "Is it said?", "No." begins many a conversation
            held[document, conversation_id(row)] = True
    of_rows = np.array(by_row, np.uint32).reshape(-1, 2)
    numbers = np.setdiff1d(np.arange(len(by_row) + len(left_out), dtype=np.uint32), np.array(left_out, np.uint32))
    smallest, ends = _smallest(list(contexts))
    found = Sketch(
        numbers=numbers,
        documents=of_rows[:, 0],
        contexts=of_rows[:, 1],
        names=np.array([_hash(name) for name in documents], np.uint64),
        places=np.array([[place(name, side, salt) for side in SPLIT_OFF] for name in documents], float).reshape(
            -1, len(SPLIT_OFF)
        ),
        passages=np.array([passage for _, passage in held], np.uint64),
        owners=np.array([document for document, _ in held], np.uint32),
        evidence=np.array(list(held.values()), bool),
        shingles=smallest,
        ends=ends,
    )
    file = io.BytesIO()
    np.savez(file, **found._asdict())
    return {"sketch": file.getvalue()}, {"rows": len(by_row)}


def evidence_of(row: Triplet) -> set[int]:
    """The passages that a row's answer comes from: those named, else the one with most of the answer's words.

    Of a refusal the one with most of the question's, which it is about.
    """
    if row.gold or len(row.context) == 1:
        return set(row.gold or (0,))
    asked = set(_plain(row.query).split())
    wanted = asked if row.refusal else set(_plain(row.answer).split())
    said = [set(_plain(passage).split()) for passage in row.context]
    return {max(range(len(said)), key=lambda i: (len(wanted & said[i]), len(asked & said[i]), -i))}


def conversation_id(row: Triplet) -> int:
    """64 bits that rows share which begin with the same question and answer, turns of one conversation."""
    first = [text for _, text in row.history[:2]] or [row.query, row.answer]
    return passage_id("\n".join(first))


def place(document: str, side: str, salt: str) -> float:
    """A number between 0 and 1 that only these three decide."""
    return int.from_bytes(blake2b(f"{salt}\0{side}\0{document}".encode(), digest_size=8).digest()) / 2**64


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())


def _smallest(contexts: Sequence[str]) -> "tuple[np.ndarray, np.ndarray]":
    """The `SHINGLES` smallest distinct shingles of each context, and where each context's end."""
    import numpy as np

    found = [np.zeros(0, np.uint32)]
    counts = [np.zeros(0, np.int64)]
    for start in range(0, len(contexts), BATCH):
        some = contexts[start : start + BATCH]
        hashes, offsets = shingles(some)
        owners = np.repeat(np.arange(len(some), dtype=np.uint64), np.diff(offsets))
        ordered = np.sort(owners << np.uint64(32) | hashes >> np.uint64(32))  # by context, then by shingle
        ordered = ordered[np.append(True, ordered[1:] != ordered[:-1])]
        owners = (ordered >> np.uint64(32)).astype(np.int64)
        of_each = np.bincount(owners, minlength=len(some))
        rank = np.arange(ordered.size) - np.repeat(np.cumsum(of_each) - of_each, of_each)
        found.append(ordered[rank < SHINGLES].astype(np.uint32))
        counts.append(np.minimum(of_each, SHINGLES))
    return np.concatenate(found), np.cumsum(np.concatenate(counts))


def shingles(texts: Sequence[str]) -> "tuple[np.ndarray, np.ndarray]":
    """uint64 hashes of the word 5-grams of each text, in order, and int64 offsets of where each text's begin and end.

    Words are lower-cased runs of ASCII letters and digits and of whatever is beyond ASCII; in scripts without spaces,
    characters. There is one 5-gram for each
    word, and one more, the last filled up with a mark, so that every text has some. The hashes are the same in every
    process. 30 µs for a text of 170 words, where a loop over its words takes 70 and tokenising it 300.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not texts:
        return np.zeros(0, np.uint64), np.zeros(1, np.int64)
    plain = [_plain(text) + _FILLING for text in texts]
    starts = np.append(0, np.cumsum([len(text) for text in plain])).astype(np.int32)
    joined = pa.StringArray.from_buffers(len(texts), pa.py_buffer(starts), pa.py_buffer(b"".join(plain)))
    lists = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(joined))
    words = lists.flatten().dictionary_encode()
    digests = b"".join([blake2b(word, digest_size=8).digest() for word in words.dictionary.cast("binary").to_pylist()])
    hashes = np.frombuffer(digests, "<u8")[words.indices.to_numpy()]
    last = WORDS - 1
    grams = np.zeros(hashes.size - last, np.uint64)
    for k in range(WORDS):
        grams ^= hashes[k : hashes.size - last + k]
        grams *= np.uint64(_SPREAD)
    grams ^= grams >> np.uint64(31)
    ends = lists.offsets.to_numpy()[1:].astype(np.int64)
    filling = (ends[:-1, None] - np.arange(1, last + 1)).ravel()  # these begin in one text and end in the next
    return np.delete(grams, filling), np.append(0, ends - last * np.arange(1, len(texts) + 1))


def _plain(text: str) -> bytes:
    """The words of a text, between spaces."""
    if not text.isascii():
        text = _SPACELESS.sub(r" \g<0> ", _BETWEEN.sub(" ", unicodedata.normalize("NFKC", text).lower()))
    return text.encode().translate(_AS_WORDS)
