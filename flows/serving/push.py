"""A bundle given on: to a repository of the hub, an OCI registry or an MLflow registry, whose own clients send it.

Each takes addresses, credentials and proxies from where its client does: `hf auth login` or HF_TOKEN; `docker login`;
MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI.
"""

import re
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from tasks.engine.errors import UserError, install, redacted
from tasks.models.bundle import MANIFEST, SIGNATURE, Manifest, require_intact

Kind = Literal["hf", "oci", "mlflow"]
FORMS = {
    "hf": r"[\w.-]+/[\w.-]+",
    "oci": r"[\w.-]+(:\d+)?/[\w./-]+:[\w.-]+",
    "mlflow": r".+",
}
LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1)(:\d+)?/")


class Target(NamedTuple):
    """Where to: hf://org/name, oci://host/repository:tag or mlflow://name."""

    kind: Kind
    name: str

    @classmethod
    def of(cls, text: str) -> "Target":
        kind, separator, name = text.partition("://")
        if not separator or kind not in FORMS or not re.fullmatch(FORMS[kind], name):
            raise UserError(
                f"cannot push to {text!r}", "write hf://ORG/NAME, oci://HOST/REPOSITORY:TAG or mlflow://NAME"
            )
        return cls(kind, name)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.kind}://{self.name}"


def files_of(bundle: Path, signature: bytes | None = None) -> dict[str, int]:
    """What goes to a registry, and the bytes of each. UserError unless the bundle is intact."""
    sizes = {name: each.size for name, each in require_intact(bundle).files.items()}
    sizes[MANIFEST] = (bundle / MANIFEST).stat().st_size
    return sizes | ({SIGNATURE: len(signature)} if signature else {})


def push(bundle: Path, target: Target, signature: bytes | None = None) -> str:
    """Send a bundle with its signature; returns where it is now: a URL, a digest or a version.

    UserError for a bundle that is not intact, and for what client or registry refuse.
    """
    manifest = require_intact(bundle)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in files_of(bundle):
            (folder / name).symlink_to((bundle / name).resolve())
        if signature:
            (folder / SIGNATURE).write_bytes(signature)
        try:
            return {"hf": _to_hub, "oci": _to_oci, "mlflow": _to_mlflow}[target.kind](folder, target.name, manifest)
        except UserError:
            raise
        except Exception as error:  # each client raises errors of its own, of its transport and of its service
            told = redacted((str(error).strip() or type(error).__name__).splitlines()[0][:500])
            raise UserError(f"{target} does not take it: {told}", "check address and login, then repeat it") from error


def _to_hub(bundle: Path, name: str, manifest: Manifest) -> str:
    """A repository that is not there is created, private."""
    from huggingface_hub import HfApi

    hub = HfApi()
    hub.create_repo(name, private=True, exist_ok=True)
    told = hub.upload_folder(repo_id=name, folder_path=bundle, commit_message=f"Adapter {manifest.key[:16]}")
    return str(told.commit_url)


def _to_oci(bundle: Path, name: str, manifest: Manifest) -> str:
    """A layer a file, by its name, as `oras pull` lays them out. On loopback by HTTP."""
    try:
        from oras.client import OrasClient
    except ImportError:
        raise UserError("an OCI registry needs the library oras", install("oci")) from None

    client = OrasClient(insecure=bool(LOOPBACK.match(name)))
    files = [f"{path}:application/octet-stream" for path in sorted(bundle.iterdir())]
    about = {"org.opencontainers.image.title": manifest.key[:16], "org.opencontainers.image.version": manifest.key}
    told = client.push(name, files=files, disable_path_validation=True, manifest_annotations=about, quiet=True)
    return f"{name.rpartition(':')[0]}@{told.headers['Docker-Content-Digest']}"


def _to_mlflow(bundle: Path, name: str, manifest: Manifest) -> str:
    """A new version of a registered model, with the bundle as its files."""
    from flows.promotion.registry import register

    tags = {"reground.training": manifest.key}
    return f"models:/{name}/{register(name, bundle, tags, f'Adapter {manifest.key[:16]}')}"
