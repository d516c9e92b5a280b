"""One training in several processes, a GPU each: how many, how they share, and what holds of the result.

The recipe is the effective batch, `batch_size` × `accumulation`, and stays: N processes take an Nth of it each. What
holds beside one process:

- Rows: accelerate deals the batches of one seeded order out in turn, so that an optimizer step has the same rows.
  Where an epoch's last step lacks batches for all, rows from the epoch's beginning fill it up, N × micro-batch - 1 at
  most.
- Loss: transformers divides by the answer tokens of all processes' batches, so that the gradient is that of the
  whole batch; sums are rounded in another order.
- Dropout draws other numbers, as it does for another micro-batch.
- Held-out loss: the mean over the same batches; in the last one, rows that fill it up may count.

With `fsdp` the frozen base is sharded and gathered layer by layer; the adapter and its optimizer's state, which are
small (r=16 on a 70B model: .2 billion weights), are whole in each process, as with `ddp`. So no checkpoint and no
adapter is ever sharded: their files are those of one process, and any strategy goes on from any other's.
"""

import os
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import Field, PositiveInt

from tasks.engine import Config

T = TypeVar("T")


class DistributedConfig(Config):
    """How many GPUs train, and how they share the model."""

    strategy: Literal["none", "ddp", "fsdp"] = Field(
        "none",
        description="none: one process, one GPU. ddp: each GPU has the whole base, and a share of each batch. fsdp: "
        "each GPU has a share of the base, too; slower, for a base that does not fit one GPU.",
    )
    processes: PositiveInt | Literal["auto"] = Field(
        "auto", description="So many, a GPU each; batch_size × accumulation is divided among them. auto: all GPUs here."
    )


def world() -> int:
    """How many processes train together; 1 outside of `accelerate launch`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process is the one that writes: metrics, the adapter, seals."""
    return os.environ.get("RANK", "0") == "0"


def join(*, cpu: bool) -> None:
    """Meet the other processes, and take this one's GPU. NCCL; on a CPU gloo."""
    if world() > 1:
        from accelerate import PartialState

        PartialState(cpu=cpu)


def meet() -> None:
    """Wait until every process has come here."""
    if world() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def agreed(make: Callable[[], T]) -> T:
    """What the leading process makes of it: the clock, free memory and files may tell each another thing."""
    if world() == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    told: list[Any] = broadcast_object_list([make() if leads() else None])
    made: T = told[0]
    return made


def most(value: float) -> float:
    """The largest of all processes' values."""
    if world() == 1:
        return value
    from accelerate.utils import gather_object

    return float(max(gather_object([value])))


def part() -> None:
    """Leave the group in order."""
    if world() > 1:
        from accelerate import PartialState

        PartialState().destroy_process_group()
