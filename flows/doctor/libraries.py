"""Python and the libraries: what is missing, what is too new, what the tests did not run with."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from flows.config import Retrain
from flows.doctor.finding import Finding, bad, note, ok
from tasks.engine.code.source import ROOT

PINS = ROOT / "constraints.txt"  # of a checkout; an installed wheel has the ranges alone
WHY = {"fastapi": "Prefect 3.8's server fails to start with a newer one"}
MEND = "`make install`, or pip install --constraint constraints.txt reground"


def check(config: Retrain) -> Iterator[Finding]:
    here = sys.version.split()[0]
    yield ok("Python", here) if sys.version_info >= (3, 11) else bad("Python", here, "use Python 3.11 or newer")
    wanted = [Requirement(line) for line in requires("reground") or ()]
    wrong = list(_out_of_range(each for each in wanted if not each.marker or each.marker.evaluate({"extra": ""})))
    yield from wrong
    if not wrong:
        yield ok("libraries", "all there, in the ranges that Reground states")
    yield from _other_than_tested()
    yield from _optional(config)


def _out_of_range(wanted: Iterator[Requirement]) -> Iterator[Finding]:
    for each in wanted:
        found = installed(each.name)
        if found is None:
            yield bad(each.name, "not installed", MEND)
        elif not each.specifier.contains(found, prereleases=True):
            reason = f" ({WHY[each.name]})" if each.name in WHY else ""
            yield bad(each.name, f"{found}, and {each.specifier} is wanted{reason}", f"pip install '{each}'")


def _other_than_tested() -> Iterator[Finding]:
    if not PINS.is_file():
        return
    pins = dict(line.split("==") for line in PINS.read_text().split() if "==" in line)
    here = {name: found for name in pins if (found := installed(name))}
    other = [f"{name} {found} (tested: {pins[name]})" for name, found in here.items() if found != pins[name]]
    if other:
        more = f" and {len(other) - 4} more" if len(other) > 4 else ""
        yield note("constraints.txt", ", ".join(other[:4]) + more, MEND)
    else:
        yield ok("constraints.txt", f"{len(here)} libraries at the versions that the tests ran with")


def _optional(config: Retrain) -> Iterator[Finding]:
    """What this config asks for beside the libraries that are always there."""
    asked = {
        "runner": {"dask": "prefect-dask", "ray": "prefect-ray"}.get(config.runner),
        "judge.llm.model": "openai" if config.judge.llm.model else None,
        "promotion.mlflow": "mlflow-skinny" if config.promotion.mlflow else None,
        "model.attention": "flash-attn" if _asks_for_flash(config) else None,
    }
    asked |= {f"train.report_to: {tracker}": tracker for tracker in config.train.report_to}
    for setting, library in asked.items():
        if library and not installed(library):
            yield bad(library, f"not installed, and {setting} asks for it", f"pip install {library}, or change that")


def _asks_for_flash(config: Retrain) -> bool:
    return "flash_attention_2" in (config.train.model.attention, config.answer.model.attention)


def installed(name: str) -> str | None:
    """The version of a distribution without its local part (+cpu, +cu130); None if it is not there."""
    try:
        return re.sub(r"\+.*", "", version(name))
    except PackageNotFoundError:
        return None
