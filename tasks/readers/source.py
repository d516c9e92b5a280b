"""The rows of a run as an input with an identity, which can say how many of them changed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.readers.shards import CHECKSUMS, checksums, cut
from tasks.versioning.inputs import Files


@dataclass(frozen=True)
class Rows(Files):
    """Files of rows, in order."""

    def changes(self, before: dict[str, Any]) -> list[str] | None:
        """`3 of 412 shards changed: rows +118 −2`; None if the earlier artifact does not say what it was made from."""
        earlier = _checksums(before)
        if not earlier:
            return None
        gone, new = earlier.keys() - self._shards.keys(), self._shards.keys() - earlier.keys()
        lost = Counter[bytes]()
        for digest in gone:
            lost.update(_split(earlier[digest].read_bytes()))
        added = Counter[bytes]()
        for digest in new:
            added.update(_split(self._shards[digest]))
        more, less = (added - lost).total(), (lost - added).total()
        if not (more or less):
            return ["the same rows, in another order or in other files"]
        return [f"{len(new):,} of {len(self._shards):,} shards changed: rows +{more:,} −{less:,}"]

    def share(self, before: dict[str, Any]) -> float:
        """The share of the rows' shards that are new."""
        earlier = _checksums(before)
        return len(self._shards.keys() - earlier.keys()) / len(self._shards) if earlier and self._shards else 1.0

    @cached_property
    def _shards(self) -> dict[str, bytes]:
        """The checksums of each shard's rows, by its digest. 3 s for a million rows of 1 kB."""
        return {shard.digest: checksums(shard.rows) for shard in cut(self.paths)}


def _checksums(before: Mapping[str, Any]) -> dict[str, Path]:
    """The files of checksums in the artifact that was made from the earlier rows."""
    folder = Path(before.get("folder", "")) / CHECKSUMS
    return {path.name: path for path in folder.iterdir()} if before.get("folder") and folder.is_dir() else {}


def _split(sums: bytes) -> list[bytes]:
    return [sums[i : i + 4] for i in range(0, len(sums), 4)]
