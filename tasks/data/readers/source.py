"""The rows of a run as an input with an identity, which can say how many of them changed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.data.readers.shards import CHECKSUMS, Seen, checksums, cut
from tasks.engine.inputs import Files
from tasks.engine.parts import noted


@dataclass(frozen=True)
class Rows(Files):
    """Files of rows, in order."""

    def changes(self, before: dict[str, Any]) -> list[str] | None:
        """`3 of 412 shards changed: rows +118 −2`; None if the earlier artifact does not say what it was made from."""
        earlier = _checksums(before)
        if not earlier:
            return None
        now = _shards(self.paths, self.digest, before["folder"])
        gone, new = earlier.keys() - now.keys(), now.keys() - earlier.keys()
        lost = Counter[bytes]()
        for digest in gone:
            lost.update(_split(earlier[digest].read_bytes()))
        added = Counter[bytes]()
        for digest in new:
            added.update(_split(now[digest]))
        more, less = (added - lost).total(), (lost - added).total()
        if not (more or less):
            return ["the same rows, in another order or in other files"]
        return [f"{len(new):,} of {len(now):,} shards changed: rows +{more:,} −{less:,}"]

    def share(self, before: dict[str, Any]) -> float:
        """The share of the rows' shards that are new."""
        earlier = _checksums(before)
        now = _shards(self.paths, self.digest, before["folder"]) if earlier else {}
        return len(now.keys() - earlier.keys()) / len(now) if now else 1.0


@lru_cache(maxsize=1)  # `changes` and `share` are asked one after the other
def _shards(paths: tuple[Path, ...], digest: str, folder: str) -> dict[str, bytes]:
    """The checksums of each shard's rows, by its digest; none of those that the artifact in `folder` has.

    `digest` is of all that the files hold: they are read again when it is another one.
    """
    earlier = _checksums({"folder": folder})
    seen = [Seen(**told) for shards in noted(cut, [Path(folder)]) for told in shards]
    return {each.digest: b"" if each.digest in earlier else checksums(each.rows) for each in cut(paths, seen)}


def _checksums(before: Mapping[str, Any]) -> dict[str, Path]:
    """The files of checksums in the artifact that was made from the earlier rows."""
    folder = Path(before.get("folder", "")) / CHECKSUMS
    return {path.name: path for path in folder.iterdir()} if before.get("folder") and folder.is_dir() else {}


def _split(sums: bytes) -> list[bytes]:
    return [sums[i : i + 4] for i in range(0, len(sums), 4)]
