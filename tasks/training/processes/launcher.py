"""The training child of several processes: ``python -m tasks.training.processes.launcher job.json PARENT``.

Has `accelerate launch` start them, and ends with the exit code of the one that failed first. It dies with its parent,
and they with it: torch starts each in a session of its own, which no signal to our process group reaches.
"""

import os
import sys
from pathlib import Path

from tasks.training.job import Job
from tasks.training.processes.parent import die_with

CONFIG = Path(__file__).parents[3] / "deployments/accelerate/one-machine.yaml"
LOOP = "tasks.training.loop"


def main(told: Path, parent: int) -> None:
    die_with(parent)
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    count = str(Job.model_validate_json(told.read_bytes()).config.distributed.processes)
    words = ["--config_file", str(CONFIG), "--num_processes", count, "-m", LOOP, str(told), str(os.getpid())]
    try:
        launch_command(launch_command_parser().parse_args(words))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code, why = failure.exitcode, failure.message.strip().splitlines()[-1]
        print(f"process {rank} of {count} failed first: {why}", file=sys.stderr, flush=True)
        raise SystemExit(code if code > 0 else 128 - code) from error


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
