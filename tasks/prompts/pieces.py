"""Token ids of many texts, each distinct piece of them tokenised once.

A byte-level tokenizer cuts text into words and tokenises each word by itself, so that a piece of text between two such
cuts has the same tokens wherever it stands. A million prompts consist of some thousand distinct pieces, and looking a
piece up takes a twentieth of the time of tokenising it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

BATCH = 512  # texts at a time: a token of theirs takes some 100 bytes in the tokenizer, and 50 here
MOST = 1 << 16  # distinct pieces that are remembered: some 15 MB

# Patterns whose matches never cross a cut (see `_cut`) or look beyond the next character. Those of Llama 3,
# Qwen 2 and Mistral (Tekken); GPT-2's is such, too, and built into `ByteLevel`. Then those that only set digits apart.
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_CASES = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
)
_REST = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = {
    _LETTERS + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _REST,
    _LETTERS + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _REST,
    _CASES + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _REST,
}
DIGITS = {r" ?\d", r"\d", r"\p{N}", r"\p{N}{1,3}"}
NORMALIZERS = ("NFC", "NFD", "NFKC", "NFKD")  # what they make of ASCII at a cut is that ASCII


@dataclass(frozen=True)
class Tokens:
    """Ids of n texts: those of text i are ``values[offsets[i] : offsets[i + 1]]``."""

    values: "np.ndarray"  # int32, all ids in a row
    offsets: "np.ndarray"  # int64, n + 1 of them

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]]) -> "Tokens":
        import numpy as np

        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(row) for row in ids], out=offsets[1:])
        # 19 ns a token, where pyarrow takes 400 for lists of lists; tokenising itself takes 500
        return cls(np.fromiter(chain.from_iterable(ids), np.int32, offsets[-1]), offsets)

    @classmethod
    def joined(cls, rows: "Sequence[np.ndarray]") -> "Tokens":
        import numpy as np

        offsets = np.cumsum([0, *map(len, rows)])
        return cls(np.concatenate([np.zeros(0, np.int32), *rows]), offsets)

    @classmethod
    def concatenated(cls, parts: "Sequence[Tokens]") -> "Tokens":
        import numpy as np

        values = np.concatenate([np.zeros(0, np.int32), *(part.values for part in parts)])
        return cls(
            values, np.append(0, np.cumsum(np.concatenate([np.zeros(0, np.int64), *(p.lengths for p in parts)])))
        )

    @property
    def lengths(self) -> "np.ndarray":
        """int64, tokens of each text."""
        import numpy as np

        return np.diff(self.offsets)

    def behind(self, start: "np.ndarray") -> "Tokens | None":
        """What each text has behind the ids `start`; None if one of them does not begin with these."""
        import numpy as np

        heads = self.offsets[:-1, None] + np.arange(start.size)
        if (self.lengths < start.size).any() or (self.values[heads] != start).any():
            return None
        return Tokens(np.delete(self.values, heads), self.offsets - start.size * np.arange(self.offsets.size))

    def __iter__(self) -> Iterator["np.ndarray"]:
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.values[start:end]


class Pieces:
    """Tokenises texts piece by piece where the tokenizer allows it, else whole; the ids are the same."""

    def __init__(self, backend: "Tokenizer") -> None:
        self._backend = backend
        self._apart = comes_apart(backend)
        contents = [each.content for each in backend.get_added_tokens_decoder().values()]
        # What leads up to a digit in an added token, such as <|reserved_special_token_7|>, which must stay whole.
        self._leads = {re.split(r"\d", each)[0].encode() for each in contents if re.search(r"\d", each)}
        self._lock = Lock()
        self._places: dict[str, int] = {}  # of a piece in `_tokens`
        self._tokens = Tokens.of([])

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Token ids of the texts, without what the tokenizer itself would put around them."""
        if not self._apart or len(texts) < 2:
            return Tokens.of(self._whole(texts))
        batches = (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))
        return Tokens.concatenated(list(map(self._of_pieces, batches)))

    def _of_pieces(self, texts: Sequence[str]) -> Tokens:
        import numpy as np

        pieces, distinct, ends = _cut(texts, self._leads)
        with self._lock:
            places, known = self._known(distinct), self._tokens
        chosen = places[pieces]
        lengths = known.lengths[chosen]
        after = np.append(0, np.cumsum(lengths))
        values = known.values[np.arange(after[-1]) + np.repeat(known.offsets[chosen] - after[:-1], lengths)]
        return Tokens(values, after[np.append(0, ends)])

    def _known(self, distinct: list[str]) -> "np.ndarray":
        """Where each piece stands in `_tokens`, after tokenising those that are new."""
        import numpy as np

        if len(self._places) > MOST:
            self._places, self._tokens = {}, Tokens.of([])
        if new := [piece for piece in distinct if piece not in self._places]:
            first = self._tokens.offsets.size - 1
            # In this order an interruption in between leaves tokens that no piece names, and never a wrong name.
            self._tokens = Tokens.concatenated([self._tokens, Tokens.of(self._whole(new))])
            self._places.update(zip(new, range(first, first + len(new)), strict=True))
        return np.array([self._places[piece] for piece in distinct], np.int64)

    def _whole(self, texts: Sequence[str]) -> list[list[int]]:
        batches = (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))
        encode = self._backend.encode_batch_fast
        return [each.ids for batch in batches for each in encode(batch, add_special_tokens=False)]


def comes_apart(backend: "Tokenizer") -> bool:
    """Whether a text's tokens are those of its pieces, cut as `_cut` does; False where that is not known."""
    from tokenizers.models import BPE

    added = backend.get_added_tokens_decoder().values()
    if any(any(map(str.isspace, each.content)) or each.lstrip or each.rstrip or each.single_word for each in added):
        return False
    if not isinstance(backend.model, BPE) or backend.model.dropout:
        return False
    if _settings(backend.normalizer).get("type", "NFC") not in NORMALIZERS:
        return False
    splitter = _settings(backend.pre_tokenizer)
    steps = splitter.get("pretokenizers", [splitter])
    return all(map(_keeps_cuts, steps)) and any(map(_cuts, steps))


def _settings(part: Any) -> dict[str, Any]:
    """The settings of a tokenizer's part as JSON; empty if it has none."""
    settings: dict[str, Any] = json.loads(part.__getstate__()) if part else {}
    return settings


def _keeps_cuts(step: dict[str, Any]) -> bool:
    """Whether this step does to each piece what it does to the whole."""
    match step:
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return True
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
            return pattern in WORDS | DIGITS
        case {"type": "Digits"}:
            return True
    return False


def _cuts(step: dict[str, Any]) -> bool:
    """Whether this step cuts wherever `_cut` does."""
    return step.get("use_regex", False) or step.get("pattern", {}).get("Regex") in WORDS


def _cut(texts: Sequence[str], leads: Iterable[bytes]) -> "tuple[np.ndarray, list[str], np.ndarray]":
    """Cut texts before each single space that stands between two printable ASCII characters, and around numbers.

    Not around numbers if one of the `leads` occurs, which may belong to something that must stay whole.

    Returns the pieces as numbers into the distinct ones, those, and after how many pieces each text ends.
    """
    import numpy as np
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    content = b"".join(encoded)
    codes = np.frombuffer(content, np.uint8)
    printable, digit = (codes > 32) & (codes < 127), (codes >= 48) & (codes < 58)
    cut = np.zeros(codes.size + 1, bool)
    if not any(lead in content for lead in leads):
        cut[1:-1] = printable[:-1] & printable[1:] & (digit[:-1] != digit[1:])
    cut[1 : codes.size - 1] |= printable[:-2] & (codes[1:-1] == 32) & printable[2:]
    ends = np.cumsum([len(each) for each in encoded])
    cut[ends] = True
    cut[0] = True
    starts = np.flatnonzero(cut)
    joined = pa.LargeStringArray.from_buffers(
        starts.size - 1, pa.py_buffer(starts.astype(np.int64)), pa.py_buffer(content)
    )
    coded = joined.dictionary_encode()
    return coded.indices.to_numpy(), coded.dictionary.to_pylist(), np.searchsorted(starts, ends)
