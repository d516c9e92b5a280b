"""The rows of a run as an input with an identity, which can say how many of them changed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.data.readers.shards import CHECKSUMS, Seen, checksums, cut
from tasks.engine.inputs import Files
from tasks.engine.parts import noted
from tasks.engine.record import Change, Origin, Shards


@dataclass(frozen=True)
class Rows(Files):
    """Files of rows, in order."""

    def change(self, name: str, before: Origin, artifact: Path) -> Change:
        """By shards and rows, if the artifact that was made from the earlier rows holds the checksums of its rows."""
        change = Change(kind="input", name=name, before=before.about or self.about, after=self.about)
        earlier = _checksums(artifact)
        if not earlier:
            return change
        now = _shards(self.paths, artifact, earlier)
        gone, new = earlier.keys() - now.keys(), now.keys() - earlier.keys()
        lost = Counter[bytes]()
        for digest in gone:
            lost.update(_split(earlier[digest].read_bytes()))
        added = Counter[bytes]()
        for digest in new:
            added.update(_split(now[digest]))
        more, less = (added - lost).total(), (lost - added).total()
        found: dict[str, Any] = {"share": len(new) / len(now) if now else 1.0}
        if more or less:
            shards = Shards(changed=len(new), removed=max(0, len(gone) - len(new)), total=len(now))
            found |= {"shards": shards, "rows_added": more, "rows_removed": less}
        else:
            found["reordered"] = True
        return change.model_copy(update=found)


def _shards(paths: tuple[Path, ...], artifact: Path, earlier: Mapping[str, Path]) -> dict[str, bytes]:
    """The checksums of each shard's rows, by its digest; none of the `earlier` ones, which the artifact has."""
    seen = [Seen(**facts) for shards in noted(cut, [artifact]) for facts in shards]
    return {each.digest: b"" if each.digest in earlier else checksums(each.rows) for each in cut(paths, seen)}


def _checksums(artifact: Path) -> dict[str, Path]:
    """The files of checksums in an artifact, by the digest of their shard."""
    folder = artifact / CHECKSUMS
    return {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}


def _split(sums: bytes) -> list[bytes]:
    return [sums[i : i + 4] for i in range(0, len(sums), 4)]
