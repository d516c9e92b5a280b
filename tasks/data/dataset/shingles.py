"""Shingles: the word 5-grams of a text, as hashes (Broder 1997)."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WORDS = 5
# Capitals become small, ASCII that is neither letter nor digit becomes space, bytes beyond ASCII stay.
_PLAIN = bytes(byte if byte > 127 else ord(chr(byte).lower()) if chr(byte).isalnum() else 32 for byte in range(256))
_FILLING = b" \x7f" * WORDS
_SPREAD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: multiplying by it spreads the bits (Knuth)


def shingles(texts: Sequence[str]) -> "tuple[np.ndarray, np.ndarray]":
    """uint64 hashes of the word 5-grams of each text, in order, and int64 offsets of where each text's begin and end.

    Words are lower-cased runs of ASCII letters and digits and of whatever is beyond ASCII. There is one 5-gram for each
    word, and one more, the last filled up with a mark, so that every text has some. The hashes are the same in every
    process. 30 µs for a text of 170 words, where a loop over its words takes 70 and tokenising it 300.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not texts:
        return np.zeros(0, np.uint64), np.zeros(1, np.int64)
    plain = [text.encode().translate(_PLAIN) + _FILLING for text in texts]
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
