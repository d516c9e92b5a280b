"""The GPUs, whether torch can use them, and whether bitsandbytes really computes in 4 bits."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from flows.config import Retrain
from flows.doctor.finding import Finding, bad, gib, note, ok

SIDE = 64  # rows and columns of the matrix that is tried
WORST = 0.25  # error of a product of 4-bit weights over the product itself; NF4 has about 0.1


class Card(NamedTuple):
    name: str
    total: int  # bytes
    free: int
    capability: tuple[int, int]
    bfloat16: bool


def check(config: Retrain) -> Iterator[Finding]:
    import torch

    found = cards()
    for number, card in enumerate(found):
        capability = ".".join(map(str, card.capability))
        told = f"{card.name}, {gib(card.free)} free of {gib(card.total)}, compute capability {capability}"
        yield ok(f"GPU {number}", told)
    if found:
        yield ok("CUDA", f"torch {torch.__version__} for CUDA {torch.version.cuda}, driver {_driver() or 'unknown'}")
    else:
        yield _none(config)
    yield from _dtype(config, found)
    yield _four_bits(config)


@cache
def cards() -> list[Card]:
    """The GPUs that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        with torch.cuda.device(number):
            bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        found.append(Card(about.name, total, free, (about.major, about.minor), bfloat16))
    return found


def _none(config: Retrain) -> Finding:
    import torch

    driver = _driver()
    asked = [name for name, model in _models(config).items() if model.device == "cuda"]
    if driver and not torch.version.cuda:
        value, remedy = "there is one, and this torch is built for the CPU", "install a CUDA build of torch"
    elif driver:
        value = f"there is one, and torch for CUDA {torch.version.cuda} cannot use it with driver {driver}"
        remedy = "install a newer driver, or a torch for an older CUDA"
    else:
        value = "none that torch can use"
        remedy = "use a GPU machine; in a container give it the GPU (`docker run --gpus all`)"
    if asked:
        both = f"{remedy}; or set device to auto and name a small base model"
        return bad("GPU", f"{value}, and {', '.join(asked)} is cuda", both)
    return note("GPU", value, f"the CPU will do for the sample; for a 7B model {remedy}")


def _driver() -> str | None:
    """The version of NVIDIA's driver, asked of its own tool; None if there is none."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return None
    words = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return told[0] if told else None


def _models(config: Retrain) -> dict[str, Any]:
    return {"train.model.device": config.train.model, "answer.model.device": config.answer.model}


def _dtype(config: Retrain, found: list[Card]) -> Iterator[Finding]:
    """bfloat16 on a card without it runs in emulation, many times slower."""
    lacking = [card.name for card in found if not card.bfloat16]
    asked = [name for name, model in _models(config).items() if model.compute_dtype == "bfloat16"]
    if lacking and asked:
        settings = ", ".join(name.replace("device", "compute_dtype") for name in asked)
        yield bad("bfloat16", f"{lacking[0]} lacks it, and {settings} asks for it", "set it to auto or float16")


def _four_bits(config: Retrain) -> Finding:
    """Quantize a matrix and multiply by it, where the training would."""
    import torch
    from bitsandbytes.nn.modules import Linear4bit

    device = "cuda" if cards() and config.train.model.device != "cpu" else "cpu"
    kind = config.train.model.quantization
    if kind == "none":
        kind = "nf4"
    torch.manual_seed(0)
    whole = torch.nn.Linear(SIDE, SIDE, bias=False)
    layer: Any = Linear4bit(SIDE, SIDE, bias=False, compute_dtype=torch.float32, quant_type=kind)
    layer.load_state_dict(whole.state_dict())
    layer.to(device)  # quantizes
    given = torch.randn(SIDE, SIDE)
    with torch.no_grad():
        wanted, got = whole(given), layer(given.to(device)).cpu()
    error = float((got - wanted).norm() / wanted.norm())
    value = f"bitsandbytes multiplies in {kind} on {device}, off by {error:.0%}"
    if error < WORST:
        return ok("4 bits", value)
    return bad("4 bits", value, "install another version of bitsandbytes, or set quantization to none")
