"""`make bench NAME=noop`: run a bench of this folder; without a name, say which there are."""

import ast
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def benches() -> dict[str, str]:
    """Name → what it measures, of every file here that can be run."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("[!_]*.py"))}
    return {
        name: (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]
        for name, text in found.items()
        if '__name__ == "__main__"' in text
    }


def main(names: list[str]) -> None:
    known = benches()
    if len(names) != 1 or names[0] not in known:
        for name, about in known.items():
            print(f"make bench NAME={name:<10} {about}")
        raise SystemExit(0 if not names else 2)
    sys.argv = names
    runpy.run_module(f"tests.bench.{names[0]}", run_name="__main__")


main(sys.argv[1:])
