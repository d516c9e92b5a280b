"""Make one artifact: take it if it is there, else run the step and publish what it wrote."""

import platform
import shutil
import sys
import time
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from tasks.engine import progress
from tasks.engine.errors import UserError, disk_explained
from tasks.engine.inputs import Input, Source
from tasks.engine.key import Payload, Request
from tasks.engine.mapper import Mapper, map_serial
from tasks.engine.record import Adoption, Origin, Reason, Record
from tasks.engine.storage.process import Process
from tasks.engine.storage.store import SHORT, Artifact, Store


def make(
    request: Request,
    store: Store,
    *,
    why: Reason | None = None,
    before: Artifact | None = None,
    run: dict[str, str] | None = None,
    mapper: Mapper = map_serial,
) -> tuple[Artifact, bool]:
    """Return the artifact of a request, and whether it was there already.

    Of several processes that ask for one key, one runs the step and the others wait and take its artifact. On the
    record go `why`, `before` (what it was compared with) and `run` (who asked: a Prefect run, a terminal). `mapper`
    maps a step's pieces of work.
    """
    step, key = request.step, request.key
    if artifact := store.find(step.name, key):
        return artifact, True
    with disk_explained(store.root), store.lease(step.name, key) as lease:
        if artifact := store.find(step.name, key):  # the one that we waited for
            return artifact, True
        places: dict[str, Any] = {n: each.local() if each else None for n, each in request.inputs.items()}
        if step.takes("work"):
            places["work"] = store.work(step.name, key)
            places["work"].mkdir(parents=True, exist_ok=True)
        if step.takes("earlier"):
            fitting = store.recent(step.name, fits=partial(_may_lend, request=request))
            places["earlier"] = [artifact.folder for artifact in fitting]
        if step.takes("mapper"):
            places["mapper"] = mapper
        with store.blobs.staging() as out:
            start = time.monotonic()
            try:
                measured = step(request.config, **places, out=out) or {}
            except UserError as error:
                error.remedy += _kept(store, request, out)
                raise
            measured["seconds"] = round(time.monotonic() - start, 3)
            if lease.lost:
                progress.say(f"{request.label}: {key[:SHORT]} was taken over meanwhile; the first to finish counts")
            record = record_of(request, measured=measured, why=why, before=before, run=run)
            return store.publish(step.name, key, out, record.model_dump(mode="json")), False


def _may_lend(artifact: Artifact, *, request: Request) -> bool:
    """Whether the step may take parts from an artifact of its own: any, unless it declares `rowwise` inputs.

    Then only one whose payload differs from the request's in nothing but those inputs.
    """
    rowwise = request.step.rowwise
    return not rowwise or _less(artifact.record.payload, rowwise) == _less(request.payload, rowwise)


def _less(payload: Payload, inputs: tuple[str, ...]) -> Payload:
    return {**payload, "inputs": {name: each for name, each in payload["inputs"].items() if name not in inputs}}


def _kept(store: Store, request: Request, out: Path) -> str:
    """Keep what a step had written when it failed: a quarantine, say, names the rows to correct."""
    if not any(out.iterdir()):
        return ""
    folder = store.root / ".failed" / f"{request.step.name}-{request.key[:8]}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(out, folder)
    return f"; what it had written so far is in {folder}"


def record_of(
    request: Request,
    *,
    measured: dict[str, float],
    why: Reason | None,
    before: Artifact | None,
    run: dict[str, str] | None = None,
    adopted: Adoption | None = None,
) -> Record:
    process = Process.this()
    return Record(
        step=request.step.name,
        label=request.label,
        key=request.key,
        payload=request.payload,
        config=request.config.model_dump(mode="json"),
        inputs={name: _origin(each) for name, each in request.inputs.items()},
        why=why or Reason(),
        before=before.key if before else None,
        adopted=adopted,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        measured={name: value for name, value in measured.items() if value is not None},
        made_by={"user": process.user, "host": process.host, **(run or {})},
        python=sys.version.split()[0],
        platform=platform.platform(),
        installed=_installed(),
    )


@cache
def _installed() -> dict[str, str]:
    """Every distribution of this environment and its version, by the names of their folders: milliseconds for 250."""
    folders = [
        each for place in reversed(sys.path) for each in Path(place).glob("*.dist-info")
    ]  # the first place counts
    return dict(sorted(dict(each.stem.rsplit("-", 1) for each in folders if "-" in each.stem).items()))


def _origin(given: Input | None) -> Origin | None:
    if given is None:
        return None
    origin = Origin(digest=given.digest, about=given.about)
    if isinstance(given, Artifact):
        return origin.model_copy(update={"step": given.step, "key": given.key, "part": given.part})
    return origin.model_copy(update={"files": given.listing()}) if isinstance(given, Source) else origin
