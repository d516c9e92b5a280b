"""What makes two texts the same, and names for what has none: by content, never by a position in a file."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import blake2b

DIGEST_BYTES = 16
WHITE_SPACE = b" \t\n\r\v\f"
BETWEEN_DIGITS = re.compile(rb"(?<=\d)\s+(?=\d)")


def normal(text: str) -> bytes:
    """The text without what does not change its meaning: letter case, white space, Unicode's compatibility forms.

    Between two digits white space counts, as one mark: "1 12" is not "11 2".
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    content = text.lower().encode()  # not casefold: "Masse" is not "Maße"
    return BETWEEN_DIGITS.sub(b"\x1f", content).translate(None, WHITE_SPACE)


def normal_each(texts: Sequence[str]) -> list[bytes]:
    """`normal` of each text, at the cost of one."""
    parts = normal("\0".join(texts)).split(b"\0")
    return parts if len(parts) == len(texts) else list(map(normal, texts))


def digest(parts: Iterable[bytes]) -> bytes:
    """16 bytes of BLAKE2b over the parts; where one part ends matters."""
    return blake2b(b"".join([b"%d:%b" % (len(part), part) for part in parts]), digest_size=DIGEST_BYTES).digest()


def document_of(passages: Iterable[bytes]) -> str:
    """The name of the document of a row that names none, from its `normal` passages in any order."""
    return digest(sorted(passages)).hex()


def is_derived(document: str, context: Sequence[str]) -> bool:
    """Whether a row's document has its name from `document_of`."""
    return len(document) == 2 * DIGEST_BYTES and document == document_of(normal_each(context))


def passage_id(passage: str) -> int:
    """64 bits that passages with the same text share."""
    return int.from_bytes(digest([normal(passage)])[:8])
