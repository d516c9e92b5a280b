"""validate and build in a process of its own: ``python -m tests.bench._data_steps ROWS EVALUATION STORE``.

Prints {"validate", "build": seconds; "peak_mib"; "rows"} as JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path

from tasks.build import BuildConfig, build
from tasks.validate import ValidateConfig, validate
from tasks.versioning.code import ROOT
from tasks.versioning.inputs import Files, Local
from tasks.versioning.key import Request
from tasks.versioning.make import make
from tasks.versioning.store import Store

VALIDATE = ValidateConfig(refusal="Not stated in the sheet.")
BUILD = BuildConfig(max_tokens=512)
BASE = Local(ROOT / "data/tiny-base")
TEMPLATE = Local(ROOT / "tasks/prompts/templates/inst.jinja")


def main(rows: Path, evaluation: Path, store: Store) -> None:
    why = ["measured"]
    start = time.monotonic()
    valid, _ = make(Request(validate, VALIDATE, {"rows": Files((rows,))}, "validate"), store, why=why)
    asked, _ = make(Request(validate, VALIDATE, {"rows": Files((evaluation,))}, "validate evaluation"), store, why=why)
    validated = time.monotonic()
    inputs = {"rows": valid["rows"], "evaluation": asked["rows"], "base": BASE, "template": TEMPLATE}
    made, _ = make(Request(build, BUILD, inputs, "build"), store, why=why)
    told = {
        "validate": validated - start,
        "build": time.monotonic() - validated,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": sum(json.loads((made.folder / "report.json").read_text())["rows"].values()),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Store(Path(sys.argv[3])))
