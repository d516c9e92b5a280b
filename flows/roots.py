"""Where runs may read and write, if the worker's own environment says so: REGROUND_ROOTS=/data,s3://team/reground.

Whoever may start a run names its files, and rejected rows are quoted in the report: without this, whoever may start
runs can read what the worker can. Unset, which is the default, nothing is refused.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from flows import settings
from flows.config import Retrain
from tasks.errors import UserError

MAGIC = re.compile(r"[*?\[]")
LOOPBACK = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)")


def refuse_outside(config: Retrain) -> None:
    """Raise UserError if a run would go outside of the worker's roots, or would have others run code on it.

    Folders and files are judged by where they really lie, links followed; buckets by their address.
    """
    roots = settings.roots()
    if not roots:
        return
    for setting, place in _places(config):
        if not any(_below(place, root) for root in roots):
            raise UserError(
                f"{setting}: {place} is outside of what runs may use on this worker",
                f"name something below {' or '.join(roots)}, or ask who runs the worker to add it to {settings.ROOTS}",
            )
    for setting, value in _openings(config):
        raise UserError(f"{setting}: {value} is not for runs to choose on this worker", f"leave {setting} as it is")


def _places(config: Retrain) -> Iterator[tuple[str, str]]:
    """Every path that the config names, and what of it a glob or a folder leads to."""
    named = {
        "data.train": config.data.train,
        "data.evaluation": config.data.evaluation,
        "base.model": config.base.model if Path(config.base.model).exists() else None,
        "prompt.template": config.prompt.template if config.prompt.template.endswith(".jinja") else None,
        "judge.embedding.model": config.judge.embedding.model,
        "judge.entailment.model": config.judge.entailment.model,
        "store": config.store,
        "cache": config.cache,
        "train.tracking_folder": config.train.tracking_folder if config.train.report_to else None,
    }
    for setting, place in named.items():
        if place is not None:
            yield setting, place
            if setting.startswith("data.") and _literal(place).exists():
                yield from ((setting, str(path)) for path in _found(place))


def _found(source: str) -> list[Path]:
    """The files behind a folder or glob: each may be a link out of it."""
    from tasks.readers import expand

    try:
        return expand(source)
    except UserError:  # that there is nothing is told where it is read
        return []


def _openings(config: Retrain) -> Iterator[tuple[str, str]]:
    """What would have the worker run others' code, or send a key to where the run says."""
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
