"""The train step's own child, under the clock: ``python -m tests.bench._gpu_loop job.json PARENT``."""

import sys
from pathlib import Path

from tasks.training import loop
from tests.bench import _gpu_clock

if __name__ == "__main__":
    _gpu_clock.install()
    loop.main(Path(sys.argv[1]), int(sys.argv[2]))
