"""How a server is started for an adapter: the base model once, the adapter beside it, tokenizer and limits as bundled.

vLLM where it is installed; else transformers' own server, for a laptop. Neither is started here: a `Launch` says how.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from flows.settings import beside, vllm
from tasks.engine.errors import UserError
from tasks.engine.inputs import HubModel, Local
from tasks.engine.storage.artifact import SHORT, Artifact
from tasks.models.bundle import Manifest, named_obstacles, require_intact

Engine = Literal["vllm", "transformers"]
SERVING = ("fastapi", "uvicorn", "openai")  # what `transformers serve` needs besides
IMAGE = "vllm/vllm-openai:v0.32.0"  # the version that the tests of serving ran with
SEVERAL = ("--max-loras", "2", "--max-cpu-loras", "8")  # an adapter that is taken out answers what it was asked
SWAPPING = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}  # adapters are loaded and unloaded by requests


@dataclass(frozen=True)
class Served:
    """An intact bundle, the name that clients ask for, and where its base model lies."""

    name: str  # first digits of the export's key
    bundle: Path
    manifest: Manifest
    base: Local | HubModel

    @classmethod
    def of(cls, adapter: Artifact, base: Path | None = None) -> "Served":
        """UserError for a bundle of which a byte changed, and for a base model that is another or is not here."""
        bundle = adapter["adapter"].local()
        manifest = require_intact(bundle)
        return cls(adapter.key[:SHORT], bundle, manifest, _base(manifest, base, adapter))


class Asked(NamedTuple):
    """Where to listen, whether requests may exchange adapters, and further options of the engine's own."""

    host: str
    port: int
    swap: bool
    more: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        return {"VLLM_NO_USAGE_STATS": "1", **(SWAPPING if self.swap else {})}


@dataclass(frozen=True)
class Launch:
    """A command, and what it needs in its environment besides what is there."""

    engine: Engine
    command: tuple[str, ...]
    environment: dict[str, str]


def installed() -> Engine:
    """The engine that is here, vLLM first. UserError if there is none."""
    if vllm():
        return "vllm"
    if all(map(find_spec, SERVING)):
        return "transformers"
    raise UserError(
        "no server is installed: there is no `vllm`, and `transformers serve` lacks its libraries",
        "`pip install vllm` in an environment on your PATH, or `pip install 'transformers[serving]'` here",
    )


def launch(served: Served, engine: Engine, asked: Asked) -> Launch:
    """How this engine serves the adapter."""
    place = ("--host", asked.host, "--port", str(asked.port), *asked.more)
    if engine == "transformers":
        program = beside("transformers") or "transformers"
        return Launch(engine, (program, "serve", str(laid_out(served)), *place), {})
    program = vllm() or "vllm"
    options = vllm_options(served, swap=asked.swap)
    return Launch(engine, (program, "serve", *_model(served.base), *options, *place), asked.environment)


def vllm_options(served: Served, *, swap: bool = False) -> tuple[str, ...]:
    """UserError for an adapter that vLLM does not serve beside its base."""
    manifest, bundle = served.manifest, str(served.bundle)
    if manifest.obstacles:
        raise UserError(
            f"vLLM does not serve {served.name} beside its base model ({named_obstacles(manifest.obstacles)})",
            f"`reground merge {served.name} FOLDER`, then `vllm serve FOLDER`; or --engine transformers",
        )
    return (
        *("--enable-lora", "--max-lora-rank", str(manifest.max_lora_rank)),
        *("--lora-modules", f"{served.name}={bundle}"),
        *("--tokenizer", bundle, "--generation-config", bundle),
        *(SEVERAL if swap else ()),
    )


def compose(served: Served, asked: Asked) -> dict[str, Any]:
    """A Docker Compose file for vLLM on one GPU, as plain data."""
    inside = replace(served, bundle=Path("/bundles", served.name))
    volumes = [f"{served.bundle}:{inside.bundle}:ro"]
    model = _model(served.base)
    if isinstance(served.base, Local):
        volumes.append(f"{served.base.path.resolve()}:/base:ro")
        model = ("/base",)
    else:
        volumes.append("~/.cache/huggingface:/root/.cache/huggingface")
    gpu = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    options = vllm_options(inside, swap=asked.swap)
    service = {
        "image": IMAGE,
        "command": [
            "--model",
            *model,
            *options,
            "--host",
            "0.0.0.0",
            "--port",
            "8000",
            *asked.more,
        ],
        "environment": asked.environment,
        "ports": [f"{asked.host}:{asked.port}:8000"],
        "volumes": volumes,
        "ipc": "host",
        "restart": "unless-stopped",
        "deploy": {"resources": {"reservations": {"devices": [gpu]}}},
        "healthcheck": {"test": ["CMD", "curl", "-f", "http://localhost:8000/health"], "start_period": "10m"},
    }
    return {"services": {"vllm": service}}


def laid_out(served: Served) -> Path:
    """A folder of links that transformers loads as a model with its adapter.

    It takes tokenizer and generation config from the same folder: there the bundle's stand in place of the base's.
    """
    root = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir(), f"reground-{os.getuid()}")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():  # in a folder that all may write to
        raise UserError(f"{root} belongs to another user", "set XDG_RUNTIME_DIR to a folder of your own")
    folder = root / served.name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    files = [*served.base.local().iterdir(), *served.bundle.iterdir()]
    for name, path in {path.name: path for path in files if path.is_file()}.items():
        (folder / name).symlink_to(path.resolve())
    return folder


def _model(base: Local | HubModel) -> tuple[str, ...]:
    return (base.name, "--revision", base.commit) if isinstance(base, HubModel) else (str(base.path.resolve()),)


def _base(manifest: Manifest, given: Path | None, adapter: Artifact) -> Local | HubModel:
    if manifest.base.commit and given is None:
        return HubModel(manifest.base.name, manifest.base.commit)
    folder = Local(given or Path(adapter.record.config.get("base_folder") or manifest.base.name))
    if not (folder.path / "config.json").is_file():
        raise UserError(
            f"the base model {manifest.base.name} of {adapter.about} is not at {folder.path}", "name it: --base FOLDER"
        )
    if manifest.base.digest and folder.digest != manifest.base.digest:
        raise UserError(
            f"{folder.path} is not the base model that {adapter.about} was trained on: its files differ",
            "name the folder with the base as it was: --base FOLDER",
        )
    return folder
