"""The rate at which this machine multiplies matrices: ``python -m tests.bench._gpu_rate SIZE``.

In bfloat16 on a card, timed by its own events over about half a second; in float32 on a CPU.
Prints {"flops": a second, "device"}.
"""

import json
import sys
import time


def main(size: int) -> None:
    import torch

    if torch.cuda.is_available():
        print(json.dumps({"flops": _on_a_card(size), "device": torch.cuda.get_device_name()}))
    else:
        print(json.dumps({"flops": _on_a_cpu(size), "device": "CPU"}))


def _on_a_card(size: int, *, warm_up: int = 50, times: int = 300) -> float:
    import torch

    one, other = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(one)
    for _ in range(warm_up):
        torch.mm(one, other, out=out)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        torch.mm(one, other, out=out)
    end.record()
    torch.cuda.synchronize()
    seconds: float = start.elapsed_time(end) / 1000
    return 2 * size**3 * times / seconds


def _on_a_cpu(size: int, *, times: int = 20) -> float:
    import torch

    one, other = (torch.randn(size, size) for _ in range(2))
    torch.mm(one, other)
    start = time.perf_counter()
    for _ in range(times):
        torch.mm(one, other)
    return 2 * size**3 * times / (time.perf_counter() - start)


if __name__ == "__main__":
    main(int(sys.argv[1]))
