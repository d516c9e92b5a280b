"""The training child, whose GPU is lost once it has done its sixth step, as torch tells of it.

The first child of a work folder leaves a mark there. "once" in it, and the next ones have the GPU again; "aborted":
CUDA ends the process, and has said so on its standard error.
"""

import os
import sys
from pathlib import Path

import torch

from tasks.training import loop, trainer

SAID = (
    "CUDA error: unspecified launch failure\nSearch for `cudaErrorLaunchFailure' in https://docs.nvidia.com for more."
)


class Lost(trainer.WriteMetrics):
    def on_step_end(self, args, state, control, **more):
        super().on_step_end(args, state, control, **more)
        mark = self.path.with_name("lost")
        how = mark.read_text() if mark.exists() else ""
        if state.global_step != 6 or how == "again":
            return
        if how == "once":
            mark.write_text("again")
        if how == "aborted":
            print(
                f"terminate called after throwing an instance of 'c10::AcceleratorError'\n  what():  {SAID}", flush=True
            )
            os.abort()
        raise torch.AcceleratorError(SAID)


def main(job_file: Path, parent: int) -> None:
    trainer.WriteMetrics = Lost
    loop.main(job_file, parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
