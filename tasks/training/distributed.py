"""One training in several processes, one GPU each: they start together, share the batch and the base, and agree.

The recipe is the effective batch, `batch_size` × `accumulation`; N processes take one Nth of it each. Compared with one
process:

- Rows: accelerate deals out the batches of one seeded order, so an optimizer step sees the same rows. Where the last
  step of an epoch has too few batches, rows from the start of the epoch fill it: at most N × micro-batch - 1.
- Loss: transformers divides by the answer tokens of all processes' batches, so the gradient is that of the whole batch;
  sums are rounded in another order.
- Dropout draws other numbers, as it does with another micro-batch.
- Held-out loss: the mean over the same batches; rows that fill up the last one may count.

With `fsdp` the frozen base is sharded and gathered layer by layer. The adapter and its optimizer states are small (r=16
on a 70B model: .2 billion weights) and whole in each process, as with `ddp`. So checkpoints and adapters are never
sharded, and any strategy resumes the checkpoints of any other.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ACCELERATE_CONFIG = Path(__file__).parents[2] / "deployments/accelerate/one-machine.yaml"


def launch(module: str, job_file: Path, count: int) -> None:
    """Run `module` in `count` processes by `accelerate launch`; exit with the code of the one that failed first.

    They die with this process: torch starts each in its own session, which no signal to our process group reaches.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    words = ["--config_file", str(ACCELERATE_CONFIG), "--num_processes", str(count)]
    words += ["-m", module, str(job_file), str(os.getpid())]
    try:
        launch_command(launch_command_parser().parse_args(words))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code, reason = failure.exitcode, failure.message.strip().splitlines()[-1]
        print(f"process {rank} of {count} failed first: {reason}", file=sys.stderr, flush=True)
        raise SystemExit(code if code > 0 else 128 - code) from error


def die_with(parent: int) -> None:
    """Ask Linux for SIGKILL when the parent ends, however it ends, so that no orphan holds the GPU."""
    if sys.platform == "linux":
        death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            raise SystemExit(1)


def world_size() -> int:
    """The number of processes that train together; 1 outside of `accelerate launch`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_leader() -> bool:
    """Whether this process writes metrics, seals and the adapter."""
    return os.environ.get("RANK", "0") == "0"


def join_group(*, cpu: bool) -> None:
    """Connect to the other processes, by NCCL or on a CPU by gloo, and take this process's GPU."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState(cpu=cpu)


def leave_group() -> None:
    if world_size() > 1:
        from accelerate import PartialState

        PartialState().destroy_process_group()


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def from_leader(compute: Callable[[], T]) -> T:
    """The leader's result, in every process: clocks, free memory and files may differ between them."""
    if world_size() == 1:
        return compute()
    from accelerate.utils import broadcast_object_list

    values: list[Any] = broadcast_object_list([compute() if is_leader() else None])
    result: T = values[0]
    return result


def maximum(value: float) -> float:
    """The largest value of all processes."""
    if world_size() == 1:
        return value
    from accelerate.utils import gather_object

    return float(max(gather_object([value])))


def shard_base(model: Any, device: str) -> float:
    """Shard the frozen base of a PEFT model by FSDP2, layer by layer; returns the share of its bytes in this process.

    `device` is "cuda" or "cpu". The base starts in main memory, whole in each process. A GPU holds its share and one
    layer (during a step also embeddings and head), while accelerate's way to load 4-bit weights puts all of it there
    once. 4-bit weights must be stored as a floating dtype, the only kind that torch shards (`bnb_4bit_quant_storage`,
    see tasks/models/model.py); bitsandbytes finds their scales in the layer.

    The adapter is not sharded: DistributedDataParallel averages its gradients and ignores the base, so a checkpoint
    equals that of one process. Sharding by transformers, `from_pretrained(distributed_config=…)`, knows no 4-bit
    weights and cannot resume.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    base = model.get_base_model()
    place = torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device(device)
    mesh = init_device_mesh(device, (world_size(),))
    for layer in [each for each in base.modules() if type(each).__name__ in base._no_split_modules]:  # of the decoder
        layer.to(place)
        fully_shard(layer, mesh=mesh, ignored_params=_trainable(layer))
    for parameter in _trainable(base):
        parameter.data = parameter.data.to(place)
    fully_shard(base, mesh=mesh, reshard_after_forward=True, ignored_params=_trainable(base))
    own = [name for name, each in (*model.named_parameters(), *model.named_buffers()) if not each.requires_grad]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, own)
    # accelerate looks here to see that a quantized model is on this process's GPU
    base.hf_device_map = {"": place.index if device == "cuda" else device}
    frozen: list[Any] = [each for each in base.parameters() if not each.requires_grad]
    return float(sum(each.to_local().nbytes for each in frozen) / sum(each.nbytes for each in frozen))


def _trainable(module: Any) -> set[Any]:
    return {parameter for parameter in module.parameters() if parameter.requires_grad}
