"""The shapes of a base model's weights, from the headers of its files: no byte of a weight is read."""

import struct
from math import prod
from pathlib import Path

import orjson

from tasks.engine.errors import UserError

MOST_HEADER = 100_000_000  # bytes, the format's own limit


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each weight by its name. UserError for a file that is cut off or is no safetensors."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = orjson.loads(file.read(min(length, MOST_HEADER)))
        except (struct.error, orjson.JSONDecodeError):
            raise UserError(f"{path} is no safetensors file, or is cut off", "download the model again") from None
        weights = {name: each for name, each in header.items() if name != "__metadata__"}
        last = max((each["data_offsets"][1] for each in weights.values()), default=0)
        if 8 + length + last > path.stat().st_size:
            lacks = 8 + length + last - path.stat().st_size
            raise UserError(f"{path} is cut off: it lacks {lacks:,} bytes", "copy or download it again")
        found |= {name: tuple(each["shape"]) for name, each in weights.items()}
    return found


def count(found: dict[str, tuple[int, ...]]) -> int:
    return sum(map(prod, found.values()))
