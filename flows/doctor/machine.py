"""The machine: Python and its libraries, cores, memory, disks, the store, the GPUs and whether 4 bits work on them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from packaging.requirements import Requirement

from flows.config import Retrain
from flows.doctor.findings import Finding, bad, gib, note, ok, ok_if
from tasks.engine.code.source import ROOT
from tasks.engine.digests import cache_folder
from tasks.engine.storage.objects import require_exclusive_create
from tasks.training.memory import main_memory

PINS = ROOT / "constraints.txt"  # only in a checkout; an installed wheel has the ranges alone
INSTALL = "`make install`, or pip install --constraint constraints.txt reground"
SHARED = Path("/dev/shm")
LITTLE_SHARED = 1 << 30  # bytes; a container has 64 MiB by default, too little for several GPUs to talk over
LITTLE, TIGHT = 1 << 30, 10 << 30  # bytes free; an adapter of a 7B model with its checkpoints takes some 2 GiB
SIDE = 64  # rows and columns of the matrix that is multiplied in 4 bits
WORST = 0.25  # error of a product of 4-bit weights over the product itself; NF4 has about 0.1


# Libraries: what is missing, what is out of range, what the tests did not run with


def libraries(config: Retrain) -> Iterator[Finding]:
    here = sys.version.split()[0]
    yield ok("Python", here) if sys.version_info >= (3, 11) else bad("Python", here, "use Python 3.11 or newer")
    ranges = [each for each in map(Requirement, requires("reground") or ()) if _applies(each)]
    wrong = [finding for each in ranges if (finding := _out_of_range(each))]
    yield from wrong or [ok("libraries", "all installed, in the ranges that Reground states")]
    if PINS.is_file():
        yield _pinned()
    for setting, library in _asked(config).items():
        if library and not installed(library):
            yield bad(library, f"not installed, and {setting} asks for it", f"pip install {library}, or change that")


def _applies(requirement: Requirement) -> bool:
    return not requirement.marker or requirement.marker.evaluate({"extra": ""})


def _out_of_range(wanted: Requirement) -> Finding | None:
    found = installed(wanted.name)
    if found is None:
        return bad(wanted.name, "not installed", INSTALL)
    if wanted.specifier.contains(found, prereleases=True):
        return None
    return bad(wanted.name, f"{found}, and {wanted.specifier} is wanted", f"pip install '{wanted}'")


def _pinned() -> Finding:
    pins = dict(line.split("==") for line in PINS.read_text().split() if "==" in line)
    here = {name: found for name in pins if (found := installed(name))}
    other = [f"{name} {found} (tested: {pins[name]})" for name, found in here.items() if found != pins[name]]
    if not other:
        return ok("constraints.txt", f"{len(here)} libraries at the versions that the tests ran with")
    more = f" and {len(other) - 4} more" if len(other) > 4 else ""
    return note("constraints.txt", ", ".join(other[:4]) + more, INSTALL)


def _asked(config: Retrain) -> dict[str, str | None]:
    """What this config needs beside the libraries that are always installed, by setting."""
    flash = "flash_attention_2" in (config.train.model.attention, config.answer.model.attention)
    return {
        "runner": {"dask": "prefect-dask", "ray": "prefect-ray"}.get(config.runner),
        "judge.llm.model": "openai" if config.judge.llm.model else None,
        "answer.shots": "bm25s" if config.answer.shots else None,
        "promotion.mlflow": "mlflow-skinny" if config.promotion.mlflow else None,
        "model.attention": "flash-attn" if flash else None,
        **{f"train.report_to: {tracker}": tracker for tracker in config.train.report_to},
    }


def installed(name: str) -> str | None:
    """The version of a distribution without its local part (+cpu, +cu130); None if it is not installed."""
    try:
        return re.sub(r"\+.*", "", version(name))
    except PackageNotFoundError:
        return None


# Cores, memory, shared memory and disks


def machine(config: Retrain) -> Iterator[Finding]:
    yield ok("CPU", f"{cores()} cores")
    total, free = main_memory()
    remedy = "end other processes, or expect the training to be killed"
    yield ok_if(free > LITTLE, "memory", f"{gib(free)} free of {gib(total)}", remedy)
    if SHARED.is_dir():
        size = shutil.disk_usage(SHARED).total
        remedy = "with several GPUs give the container more: docker run --shm-size 8g"
        yield ok_if(size >= LITTLE_SHARED, "/dev/shm", gib(size), remedy)
    for what, folder in _disks(config).items():
        free = shutil.disk_usage(existing(folder)).free
        value, remedy = f"{gib(free)} free at {folder}", "free some, `reground gc --delete`, or name another folder"
        yield bad(what, value, remedy) if free < LITTLE else ok_if(free >= TIGHT, what, value, remedy)


def _disks(config: Retrain) -> dict[str, Path]:
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(config.cache) if config.cache else cache_folder()
    found = {} if "://" in config.store else {"disk of the store": Path(config.store)}
    found |= {"disk of the cache": cache} if cache else {}
    return found if Path(config.base.model).is_dir() else found | {"disk of the hub's cache": Path(HF_HUB_CACHE)}


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.expanduser().absolute()
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def cores() -> int:
    """Those that this process may use; a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The store: whether it can be written to, and whether two runs could agree there who computes what


def store(config: Retrain) -> Iterator[Finding]:
    folder = None if "://" in config.store else Path(config.store).expanduser().absolute()
    if folder and existing(folder) != folder:
        yield _not_made(folder, existing(folder))
        return
    opened = config.open_store()
    try:
        require_exclusive_create(opened.objects)  # writes, reads and deletes a small object
    except OSError as error:
        value = f"{opened.url} is not writable: {error.strerror}"
        yield bad("store", value, "let this user write there, or name another")
        return
    if folder and not _has_links(folder):
        value = f"{opened.url}: writable, without hard links"
        yield note("store", value, "artifacts that share a file hold a copy each")
    else:
        yield ok("store", f"{opened.url}: writable" + ("" if folder else ", with conditional writes"))


def _not_made(folder: Path, above: Path) -> Finding:
    """A store that does not exist yet: whether this user can make it in the nearest folder `above`."""
    first = above / folder.relative_to(above).parts[0]
    if first.exists():
        return bad("store", f"{first} is not a folder", "name another")
    if os.access(above, os.W_OK | os.X_OK):
        return ok("store", f"{folder} does not exist yet, and can be made")
    return bad(
        "store", f"{folder} does not exist, and this user may not make it in {above}", "make it, or name another"
    )


def _has_links(folder: Path) -> bool:
    with TemporaryDirectory(dir=folder, prefix=".probe-") as name:
        (file := Path(name) / "file").touch()
        try:
            os.link(file, file.with_name("link"))
        except OSError:
            return False
        return True


# GPUs: whether torch can use them, and whether bitsandbytes really computes in 4 bits


class Card(NamedTuple):
    name: str
    total: int  # bytes
    free: int
    capability: tuple[int, int]
    bfloat16: bool


def gpu(config: Retrain) -> Iterator[Finding]:
    import torch

    for number, card in enumerate(cards()):
        capability = ".".join(map(str, card.capability))
        value = f"{card.name}, {gib(card.free)} free of {gib(card.total)}, compute capability {capability}"
        yield ok(f"GPU {number}", value)
    if cards():
        yield ok("CUDA", f"torch {torch.__version__} for CUDA {torch.version.cuda}, driver {_driver() or 'unknown'}")
    else:
        yield _no_gpu(config)
    yield from bfloat16(config, cards())
    yield _four_bits(config)


@cache
def cards() -> list[Card]:
    """The GPUs that torch can use."""
    import torch

    found = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        with torch.cuda.device(number):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        found.append(Card(about.name, total, free, (about.major, about.minor), native))
    return found


def _no_gpu(config: Retrain) -> Finding:
    import torch

    driver = _driver()
    if driver and not torch.version.cuda:
        value, remedy = "there is one, and this torch is built for the CPU", "install a CUDA build of torch"
    elif driver:
        value = f"there is one, and torch for CUDA {torch.version.cuda} cannot use it with driver {driver}"
        remedy = "install a newer driver, or a torch for an older CUDA"
    else:
        value = "none that torch can use"
        remedy = "use a GPU machine; in a container give it the GPU (`docker run --gpus all`)"
    asked = [f"{name}.device" for name, model in _models(config).items() if model.device == "cuda"]
    if asked:
        both = f"{remedy}; or set device to auto and name a small base model"
        return bad("GPU", f"{value}, and {', '.join(asked)} is cuda", both)
    return note("GPU", value, f"the CPU is enough for the sample; for a 7B model {remedy}")


def _driver() -> str | None:
    """The version of NVIDIA's driver by its own tool; None if there is none."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(output.split()), None)


def _models(config: Retrain) -> dict[str, Any]:
    return {"train.model": config.train.model, "answer.model": config.answer.model}


def bfloat16(config: Retrain, found: list[Card]) -> Iterator[Finding]:
    """A card without it emulates it, many times slower."""
    lacking = [card.name for card in found if not card.bfloat16]
    asked = [f"{name}.compute_dtype" for name, each in _models(config).items() if each.compute_dtype == "bfloat16"]
    if lacking and asked:
        value = f"{lacking[0]} lacks it, and {', '.join(asked)} asks for it"
        yield bad("bfloat16", value, "set it to auto or float16")


def _four_bits(config: Retrain) -> Finding:
    """Quantize a matrix and multiply by it, on the device that the training would use."""
    import torch
    from bitsandbytes.nn.modules import Linear4bit

    model = config.train.model
    device = "cuda" if cards() and model.device != "cpu" else "cpu"
    kind = "nf4" if model.quantization == "none" else model.quantization
    torch.manual_seed(0)
    exact = torch.nn.Linear(SIDE, SIDE, bias=False)
    layer: Any = Linear4bit(SIDE, SIDE, bias=False, compute_dtype=torch.float32, quant_type=kind)
    layer.load_state_dict(exact.state_dict())
    layer.to(device)  # quantizes
    inputs = torch.randn(SIDE, SIDE)
    with torch.no_grad():
        expected, actual = exact(inputs), layer(inputs.to(device)).cpu()
    error = float((actual - expected).norm() / expected.norm())
    value = f"bitsandbytes multiplies in {kind} on {device}, off by {error:.0%}"
    if error < WORST:
        return ok("4 bits", value)
    return bad("4 bits", value, "install another version of bitsandbytes, or set quantization to none")
