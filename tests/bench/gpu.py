"""QLoRA of a 7B and an 8B model on one card: useful tokens/s, share of its matrix rate, memory; beside the peers.

Bases of random weights in the shapes of Mistral 7B and Llama 3 8B (31 GB, in TMPDIR), which are as fast as trained ones
and as large. NF4, LoRA r=16 on all linear layers, one epoch of the same rows for each contestant, about 8 of them an
optimizer step, at 4,096 and at 1,024 tokens; rows fill as much of a sequence as the sample's do, see _gpu_data.py.

- auto: `reground`'s train step as its defaults have it, train.fit auto; plain:
  with 4-bit weights that stay packed (train.speed); bf16: on a base that is not quantized.
- course: the course's script, ported (_course.py): 2 × 4 padded rows, loss on every token, q_proj and v_proj adapted.
- trl, unsloth, axolotl: with packing, set up as their documentation has it. The last two are taken where they can be
  imported, by this Python or by the one that BENCH_UNSLOTH or BENCH_AXOLOTL names; nothing is installed.

No adapter has dropout but the course's, as Unsloth's and Axolotl's kernels take none. Each runs in a process of its
own, under the same clock, which starts after two optimizer steps (_gpu_clock.py). Useful tokens are those of rows,
padding is none. MFU is what the rows are worth by _gpu_flops.py, over the time, over the rate at which the card
multiplied 8,192² matrices in bfloat16 when this began. Peak MiB is what torch's allocator had handed out at once, of
the process since its start.

The target is 4 × the course's useful tokens/s; what else must hold: an MFU of 0.45 at 4,096, and 1.0 × the best peer.

BENCH_MINUTES (8.5) bounds the run: what is left of plain and bf16 then is left out. BENCH_ROWS,
BENCH_ROUNDS, BENCH_WARM_UP, BENCH_MODELS, BENCH_LENGTHS and BENCH_WHO choose; BENCH_SCALED=0 leaves the sample's rows
as short as they are; BENCH_TINY=1 runs all of it with toy shapes, on a CPU even, to see that it runs.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from tasks.engine.code.source import ROOT
from tasks.training.memory import shape_of
from tests.bench import _gpu_data, _gpu_models
from tests.bench._gpu_data import Rows
from tests.bench._gpu_flops import flops
from tests.bench.harness import verdict

TINY = os.environ.get("BENCH_TINY") == "1"


def _setting(name: str, default: Any, tiny: Any) -> str:
    return os.environ.get(f"BENCH_{name}", str(tiny if TINY else default))


MODELS = _setting("MODELS", "mistral-7b llama-8b", "mistral-toy llama-toy").split()
LENGTHS = [int(length) for length in _setting("LENGTHS", "4096 1024", "512 256").split()]
ROWS = int(_setting("ROWS", 56, 48))
ROUNDS = int(_setting("ROUNDS", 1, 1))
MINUTES = float(_setting("MINUTES", 8.5, 60))
MATRIX = 512 if TINY else 8192
TARGET, MFU, PEER = 4.0, 0.45, 1.0
EXAMPLES = 8  # rows of an optimizer step: the course's 2 × 4
PASS = 4096  # tokens of a forward pass, for those who do not choose it themselves
LORA = {"r": 16, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"}
OTHERS: dict[str, dict[str, Any]] = {
    "plain": {"speed": "plain"},
    "bf16": {"model": {"quantization": "none"}},
}
OURS: dict[str, dict[str, Any]] = {"auto": {}, **OTHERS}
PEERS = ("trl", "unsloth", "axolotl")
IN_ORDER = ("auto", "course", *PEERS, *OTHERS)  # of importance: the last are left out first
WHO = [who for who in IN_ORDER if who in _setting("WHO", " ".join(IN_ORDER), " ".join(IN_ORDER)).split()]
TARGETED = [who for who in WHO if who not in OTHERS]


class Case(NamedTuple):
    model: str
    length: int
    who: str


class Bench:
    """What the runs share, and their figures by case, or why there are none."""

    def __init__(self, folder: Path, deadline: float) -> None:
        self.folder, self.deadline = folder, deadline
        self.rows = {each: _gpu_data.make(folder / f"rows-{each}", ROWS, each, scaled=_scaled()) for each in LENGTHS}
        self.bases = {model: folder / model for model in MODELS}
        for model, base in self.bases.items():
            self._child([sys.executable, "-m", "tests.bench._gpu_models", model, base], {})
        rate = self._child([sys.executable, "-m", "tests.bench._gpu_rate", MATRIX], {})
        self.rate, self.device = _last(rate)["flops"], _last(rate)["device"]
        self.found: dict[Case, list[dict[str, Any]]] = {}
        self.left_out: dict[Case, str] = {}

    def run(self, case: Case) -> None:
        """Once more, unless it failed before; the figures of earlier rounds stay."""
        if case in self.left_out:
            return
        began = time.monotonic()
        try:
            figures = self._figures(case)
        except Left as why:
            if case not in self.found:
                self.left_out[case] = str(why)
            _say(f"{_named(case)}: {why}")
            return
        self.found.setdefault(case, []).append(figures)
        _say(
            f"{_named(case)}: {figures['tokens_per_second']:,} tokens/s, MFU {figures['mfu']:.3f}, "
            f"{figures['peak_mib']:,} MiB ({time.monotonic() - began:.0f} s in all)"
        )

    def _figures(self, case: Case) -> dict[str, Any]:
        rows, base = self.rows[case.length], self.bases[case.model]
        python = _python(case.who)
        if python is None:
            raise Left("not installed")
        number = len(self.found.get(case, []))
        folder = self.folder / f"{case.model}-{case.length}-{case.who}-{number}"
        folder.mkdir()
        (folder / "job.json").write_text(json.dumps(_job(case.who, rows, base, folder)))
        printed = self._child(
            [python, "-m", *_module(case.who), folder / "job.json"], {"BENCH_CLOCK": folder / "clock"}
        )
        clock = json.loads((folder / "clock").read_bytes())
        counts = {name: clock[name] for name in ("trained", "tokens", "scored", "pairs")}
        shape = shape_of(base)
        assert shape
        shutil.rmtree(folder)
        return {
            "tokens_per_second": round(clock["tokens"] / clock["seconds"]),
            "mfu": round(flops(shape, **counts) / clock["seconds"] / self.rate, 4),
            "peak_mib": clock["peak_mib"],
            "seconds": round(clock["seconds"], 3),
            "steps": clock["steps"],
            "tokens": clock["tokens"],
            "all_tokens": clock["all_tokens"],
            "attention": clock["attention"],
            **({"chosen": _last(printed)} if case.who in OURS else {}),
        }

    def _child(self, words: list[Any], environment: dict[str, Any]) -> str:
        """What it printed. Raises Left where it failed or there is no time left."""
        left = self.deadline - time.monotonic()
        if left < 1:
            raise Left("no time left")
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(self.folder / "cache"), "PYTHONUNBUFFERED": "1"}
        given = {name: str(value) for name, value in environment.items()}
        try:
            done = subprocess.run(
                [str(word) for word in words],
                cwd=ROOT,
                env={**os.environ, **offline, **given},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=left,
            )
        except subprocess.TimeoutExpired:
            raise Left("no time left") from None
        if done.returncode:
            if TINY:
                print(done.stdout, file=sys.stderr)
            memory = "out of memory" in done.stdout.lower()
            last = next((line.strip() for line in reversed(done.stdout.splitlines()) if line.strip()), "")
            raise Left("out of memory" if memory else f"failed with exit code {done.returncode}: {last[:200]}")
        return done.stdout


class Left(Exception):
    """Why a contestant has no figures."""


def main() -> None:
    _need_a_card()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reground-bench-", ignore_cleanup_errors=True) as name:
        _need_room(Path(name))
        try:
            bench = Bench(Path(name), began + 60 * MINUTES)
        except Left as why:
            raise SystemExit(f"a model of random weights could not be made: {why}") from None
        for case in _cases():
            bench.run(case)
    runs = {case: _median(found) for case, found in bench.found.items()}
    _table(bench, runs)
    _verdict(bench, runs, time.monotonic() - began)


def _cases() -> Iterator[Case]:
    """What the targets are about first, in each round; then our other ways."""
    for some in (TARGETED, [who for who in WHO if who not in TARGETED]):
        for _, model, length, who in product(range(ROUNDS), MODELS, LENGTHS, some):
            yield Case(model, length, who)


def _job(who: str, rows: Rows, base: Path, folder: Path) -> dict[str, Any]:
    """What the contestant's module gets: as many rows in an optimizer step as the course has, near enough."""
    batch = max(1, round(EXAMPLES * rows.packs / rows.number))  # sequences
    micro = next(size for size in range(max(1, min(batch, PASS // rows.max_tokens)), 0, -1) if batch % size == 0)
    if who in OURS:
        config = {
            "batch_size": micro,
            "accumulation": batch // micro,
            "fit": "auto",
            "lora": LORA,
            "learning_rate": 2e-4,
            "scheduler": "constant",
            "warmup": 0,
            "logging_steps": 1000,
            "save_steps": 1000,
            **OURS[who],
        }
        return {"config": config, "train": str(rows.train), "base": str(base), "out": str(folder)}
    if who == "course":
        return {"base": str(base), "texts": str(rows.texts), "max_tokens": rows.max_tokens, "out": str(folder)}
    return {
        "base": str(base),
        "rows": str(rows.tokens),
        "max_tokens": rows.max_tokens,
        "micro_batch": micro,
        "accumulation": batch // micro,
        "dropout": LORA["dropout"],
        "out": str(folder),
    }


def _module(who: str) -> list[str]:
    if who in OURS:
        return ["tests.bench._gpu_ours"]
    return ["tests.bench._gpu_clock", "tests.bench._course" if who == "course" else f"tests.bench._gpu_{who}"]


def _python(who: str) -> str | None:
    """The Python that has this contestant; None if it is not installed."""
    if who not in ("unsloth", "axolotl"):
        return sys.executable
    python = os.environ.get(f"BENCH_{who.upper()}", sys.executable)
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({who!r}) is None)"
    return None if subprocess.run([python, "-c", code]).returncode else python


def _median(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The round whose speed is the median of all, the slower one of two."""
    middle = statistics.median_low(each["tokens_per_second"] for each in found)
    return next(each for each in found if each["tokens_per_second"] == middle)


def _table(bench: Bench, runs: dict[Case, dict[str, Any]]) -> None:
    title = f"{bench.device}, {bench.rate / 1e12:.1f} TFLOP/s in {MATRIX}² matrices; {ROWS} rows, {ROUNDS} round(s)"
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "useful tokens/s", "× course", "MFU", "peak MiB", "steps"):
        shown.add_column(column, justify="right" if column else "left")
    for case in sorted({*runs, *bench.left_out}, key=_as_shown):
        if found := runs.get(case):
            course = runs.get(case._replace(who="course"))
            times = f"{found['tokens_per_second'] / course['tokens_per_second']:.2f}" if course else ""
            figures = [f"{found['tokens_per_second']:,}", times, f"{found['mfu']:.3f}", f"{found['peak_mib']:,}"]
            shown.add_row(_named(case), *figures, str(found["steps"]))
        else:
            shown.add_row(_named(case), bench.left_out[case])
    Console(width=110).print(shown)


def _verdict(bench: Bench, runs: dict[Case, dict[str, Any]], seconds: float) -> None:
    def rates(*whom: str) -> list[float]:
        """Ours over the best of these, wherever there are both; 0 where we have no figure."""
        found = []
        for model, length in product(MODELS, LENGTHS):
            theirs = [runs[case] for who in whom if (case := Case(model, length, who)) in runs]
            ours = runs.get(Case(model, length, "auto"), {"tokens_per_second": 0})
            if theirs:
                found.append(ours["tokens_per_second"] / max(each["tokens_per_second"] for each in theirs))
        return found

    used = [runs[case]["mfu"] if (case := Case(m, max(LENGTHS), "auto")) in runs else 0.0 for m in MODELS]
    course, peer = rates("course"), rates(*PEERS)
    every = len(MODELS) * len(LENGTHS)
    holds = len(course) == len(peer) == every and min(course) >= TARGET and min(peer) >= PEER and min(used) >= MFU
    verdict(
        "gpu",
        ratio=min(course, default=0.0),
        target=TARGET,
        holds=holds,
        times_best_peer=round(min(peer, default=0.0), 4),
        target_best_peer=PEER,
        mfu_at_longest=min(used),
        target_mfu=MFU,
        device=bench.device,
        matrix_tflops=round(bench.rate / 1e12, 2),
        rows={str(each.max_tokens): {"rows": each.number, "tokens": each.useful} for each in bench.rows.values()},
        runs={
            model: {str(n): {who: runs.get(Case(model, n, who)) for who in WHO} for n in LENGTHS} for model in MODELS
        },
        left_out={_named(case): why for case, why in bench.left_out.items()},
        seconds=round(seconds),
    )


def _as_shown(case: Case) -> tuple[int, int, int]:
    return MODELS.index(case.model), LENGTHS.index(case.length), IN_ORDER.index(case.who)


def _named(case: Case) -> str:
    return f"{case.model} {case.length:,} {case.who}"


def _last(printed: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return figures


def _scaled() -> bool:
    return os.environ.get("BENCH_SCALED") != "0"


def _say(line: str) -> None:
    print(line, flush=True)


def _need_a_card() -> None:
    import torch

    if not (TINY or torch.cuda.is_available()):
        print(
            "this bench needs a CUDA card, and torch finds none here; BENCH_TINY=1 tries it out on toys",
            file=sys.stderr,
        )
        raise SystemExit(2)


def _need_room(folder: Path) -> None:
    needed, free = sum(map(_gpu_models.size, MODELS)) + (2 << 30), shutil.disk_usage(folder).free
    if free < needed:
        print(
            f"{folder.parent} has {free >> 30} GiB free, and the models take {needed >> 30}; name a larger folder in "
            "TMPDIR, or fewer models in BENCH_MODELS",
            file=sys.stderr,
        )
        raise SystemExit(2)


if __name__ == "__main__":
    main()
