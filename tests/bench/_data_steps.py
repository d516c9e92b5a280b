"""validate and build in a flow of their own: ``python -m tests.bench._data_steps ROWS EVALUATION STORE [RUNNER]``.

On a Prefect server of their own, which has started before the clock does. Prints {"validate", "build": seconds; "rows"}
as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from flows import settings

settings.for_terminal()

from prefect import flow  # noqa: E402

from flows.orchestration.mappers import Kind, Runner  # noqa: E402
from tasks.build import BuildConfig, build  # noqa: E402
from tasks.engine.code.source import ROOT  # noqa: E402
from tasks.engine.inputs import Files, Local  # noqa: E402
from tasks.engine.key import Request  # noqa: E402
from tasks.engine.make import make  # noqa: E402
from tasks.engine.storage.store import Store  # noqa: E402
from tasks.validate import ValidateConfig, validate  # noqa: E402
from tests.tasks.tiny import COURSE  # noqa: E402

VALIDATE = ValidateConfig(refusal="Not stated in the sheet.")
BUILD = BuildConfig(max_tokens=512, prompt=COURSE)
BASE = Local(ROOT / "data/tiny-base")


@flow(name="data steps", persist_result=False, validate_parameters=False)
def data_steps(rows: Path, evaluation: Path, store: str, runner: Kind) -> dict[str, Any]:
    with Runner(runner) as mapper:
        how: dict[str, Any] = {"store": Store(store), "mapper": mapper}
        start = time.monotonic()
        valid, _ = make(Request(validate, VALIDATE, {"rows": Files((rows,))}, "validate"), **how)
        asked, _ = make(Request(validate, VALIDATE, {"rows": Files((evaluation,))}, "validate evaluation"), **how)
        validated = time.monotonic()
        inputs = {"rows": valid["rows"], "evaluation": asked["rows"], "base": BASE}
        made, _ = make(Request(build, BUILD, inputs, "build"), **how)
        end = time.monotonic()
    counted = json.loads((made.folder / "report.json").read_text())["rows"]
    return {"validate": validated - start, "build": end - validated, "rows": sum(counted.values())}


if __name__ == "__main__":
    kind: Any = sys.argv[4] if len(sys.argv) > 4 else "threads"
    print(json.dumps(data_steps(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], kind)))
