"""Where runs may read and write, if the worker's own environment says so: REGROUND_ROOTS=/data,s3://team/reground.

Whoever may start a run names its files, and rejected rows are quoted in the report: without this, whoever may start
runs can read what the worker can. Unset, which is the default, nothing is refused.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from flows import settings
from flows.config import DataConfig, Retrain
from flows.stores import StoreConfig
from tasks.engine.errors import UserError

MAGIC = re.compile(r"[*?\[]")
LOOPBACK = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)")


def refuse_outside(request: StoreConfig) -> None:
    """Raise UserError if a run so asked would go outside of the worker's roots, or would have others run code on it.

    Folders and files are judged by where they really lie, links followed; buckets by their address.
    """
    roots = settings.roots()
    if not roots:
        return
    for setting, place in _places(request):
        if not any(_below(place, root) for root in roots):
            raise UserError(
                f"{setting}: {place} is outside of what runs may use on this worker",
                f"name something below {' or '.join(roots)}, or ask who runs the worker to add it to {settings.ROOTS}",
            )
    for setting, value in _openings(request):
        raise UserError(f"{setting}: {value} is not for runs to choose on this worker", f"leave {setting} as it is")


def _places(request: StoreConfig) -> Iterator[tuple[str, str]]:
    """Every path that is named, and what of it a glob or a folder leads to."""
    for setting, place in _named(request).items():
        if place is not None:
            yield setting, place
            if setting.startswith("data.") and _literal(place).exists():
                yield from ((setting, str(path)) for path in _found(place))


def _named(request: StoreConfig) -> dict[str, str | None]:
    named = {"store": request.store, "cache": request.cache}
    data = getattr(request, "data", None)
    if isinstance(data, DataConfig):
        named |= {"data.train": data.train, "data.evaluation": data.evaluation}
    if isinstance(request, Retrain):
        named |= {
            "base.model": request.base.model if Path(request.base.model).exists() else None,
            "prompt.template": request.prompt.template if request.prompt.template.endswith(".jinja") else None,
            "judge.embedding.model": request.judge.embedding.model,
            "judge.entailment.model": request.judge.entailment.model,
            "train.tracking_folder": request.train.tracking_folder if request.train.report_to else None,
        }
    return named


def _found(source: str) -> list[Path]:
    """The files behind a folder or glob: each may be a link out of it."""
    from tasks.data.readers import expand

    try:
        return expand(source)
    except UserError:  # that there is nothing is told where it is read
        return []


def _openings(config: StoreConfig) -> Iterator[tuple[str, str]]:
    """What would have the worker run others' code, or send a key to where the run says."""
    if not isinstance(config, Retrain):
        return
    if config.runner_address:
        yield "runner_address", config.runner_address
    for name, model in (("train.model", config.train.model), ("answer.model", config.answer.model)):
        if model.trust_remote_code:
            yield f"{name}.trust_remote_code", model.trust_remote_code
    for name, judge in (("embedding", config.judge.embedding), ("entailment", config.judge.entailment)):
        if judge.trust_remote_code:
            yield f"judge.{name}.trust_remote_code", judge.trust_remote_code
    endpoint = config.judge.llm.endpoint
    if config.judge.llm.model and endpoint.key_variable and not LOOPBACK.match(endpoint.url):
        yield "judge.llm.endpoint.url", endpoint.url


def _below(place: str, root: str) -> bool:
    if "://" in place or "://" in root:
        return ".." not in place.split("/") and f"{place.rstrip('/')}/".startswith(f"{root.rstrip('/')}/")
    return _literal(place).resolve().is_relative_to(Path(root).expanduser().resolve())


def _literal(place: str) -> Path:
    """The path up to where a glob begins, before anything is looked up by it."""
    path = Path(place).expanduser()
    parts = [*path.parts]
    magic = next((at for at, part in enumerate(parts) if MAGIC.search(part)), len(parts))
    return Path(*parts[:magic]) if not path.exists() else path
