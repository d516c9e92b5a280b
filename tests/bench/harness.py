"""What the benches share: measure a command, alternate the contestants, print a table and one line of JSON."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from tasks.engine.code.source import ROOT

PEERS = ROOT / ".bench-venv"  # of their own: their dependencies must not move the product's


@dataclass(frozen=True)
class Measured:
    """One run of a contestant."""

    seconds: float  # by the wall
    peak: int  # bytes of resident memory, of the process or its largest child
    out: str = ""  # what it printed


Samples = Mapping[str, Sequence[Measured]]


def measure(
    command: Sequence[str | Path], *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> Measured:
    """Run a command to its end. Raises RuntimeError with what it printed if it fails."""
    environment = {**os.environ, **(env or {})}
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} exited with {process.returncode}:\n{out}")
    return Measured(seconds, usage.ru_maxrss * 1024, out)


def alternate(contestants: Mapping[str, Callable[[], Measured]], *, rounds: int) -> dict[str, list[Measured]]:
    """Run each in turn, once to warm up and then `rounds` times, so that a busy minute falls on all alike."""
    samples: dict[str, list[Measured]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            measured = run()
            if number:
                samples[name].append(measured)
    return samples


def seconds(samples: Samples, name: str) -> float:
    """The median of a contestant's seconds."""
    return statistics.median(each.seconds for each in samples[name])


def table(title: str, samples: Samples) -> None:
    """Print each contestant's median, its fastest and slowest run, and its memory."""
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "median s", "fastest", "slowest", "runs", "peak MiB"):
        shown.add_column(column, justify="left" if not column else "right")
    for name, each in samples.items():
        walls = [one.seconds for one in each]
        figures = [f"{value:.3f}" for value in (statistics.median(walls), min(walls), max(walls))]
        shown.add_row(name, *figures, str(len(walls)), f"{max(one.peak for one in each) / 2**20:.0f}")
    Console(width=100).print(shown)


def verdict(name: str, *, ratio: float, target: float, holds: bool | None = None, **more: Any) -> None:
    """Print the line of JSON that ends every bench, and exit with 1 if the target is missed.

    `holds` is for targets that are not simply `ratio` ≤ `target`.
    """
    held = ratio <= target if holds is None else holds
    result = {"name": name, "ratio": round(ratio, 4), "target": target, "holds": held, **more}
    print(orjson.dumps(result).decode(), flush=True)
    raise SystemExit(0 if held else 1)


def peer(requirement: str) -> Path:
    """The `bin` folder of the peers' environment, with `requirement` (such as ``dvc==3.67.1``) installed in it."""
    folder = PEERS / "bin"
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
    measure([folder / "pip", "install", "--quiet", "--disable-pip-version-check", requirement])
    return folder
