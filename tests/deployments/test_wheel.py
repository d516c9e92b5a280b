"""The wheel holds every file that flows and tasks read, and works in a folder that has nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("flows", "tasks", "deployments", "data")
OWN = shutil.ignore_patterns("__pycache__", ".*")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder as `pip install .` fills it, without the libraries."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / "source" / part, ignore=OWN)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "source"], check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site-packages")
    return folder / "site-packages"


def test_every_file_is_in_the_wheel(installed):
    def files(root: Path) -> set[str]:
        found = (path for part in PARTS for path in (root / part).rglob("*") if path.is_file())
        names = {path.relative_to(root).as_posix() for path in found if "__pycache__" not in path.parts}
        return {name for name in names if not any(part.startswith(".") for part in name.split("/"))}

    assert files(installed) == files(ROOT)


def test_in_an_empty_folder_the_sample_is_planned_and_a_service_keeps_its_state_there(installed, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "REGROUND_"))}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "train                waits" in run("-m", "flows.cli", "plan")
    told = (
        "from flows.config import TINY, load; from flows.orchestration.service import apply, state; "
        "made = apply._deployment(apply._listed()[0], 'retrain/retrain', TINY, load(TINY), set()); "
        "print(state.folder(), made['entrypoint'])"
    )
    assert run("-c", told).split() == [f"{tmp_path}/.reground", "flows.retrain.retrain"]
