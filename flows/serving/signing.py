"""Whose bundle it is: signatures of OpenSSF model-signing, made and checked with a key pair, without a network.

A signature is another each time that it is made. So it is kept beside an artifact, whose key and bytes stay as they
are: in the store below signatures/, and in a copy as model.sig, where `model_signing verify key` finds it, too.
"""

import base64
import tempfile
from pathlib import Path
from typing import Any

import orjson

from tasks.engine.errors import UserError, install
from tasks.engine.inputs import files_below, sha256_file
from tasks.engine.storage.artifact import SHORT, Artifact
from tasks.engine.storage.store import Store
from tasks.models.bundle import SIGNATURE, Fault, named, require_intact

KEYS = "an elliptic-curve key in PEM: `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`"


def sign(folder: Path, private_key: Path) -> bytes:
    """The signature of an intact bundle. UserError for what is no key."""
    signing = _library("signing")
    require_intact(folder)
    hashed = _library("hashing").Config().use_file_serialization(allow_symlinks=True)  # of the hub's cache
    hashed.set_ignored_paths(paths=[SIGNATURE, ".cache"])
    with tempfile.TemporaryDirectory() as place:
        signature = Path(place, SIGNATURE)
        try:
            signer = signing.Config().set_hashing_config(hashed).use_elliptic_key_signer(private_key=private_key)
            signer.sign(folder, signature)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{private_key} cannot sign: {error}", f"name {KEYS}") from None
        return signature.read_bytes()


def sign_adapter(store: Store, adapter: Artifact, private_key: Path) -> None:
    """Sign an adapter of the store in place of an earlier signature."""
    store.objects.write(_name(adapter), sign(adapter["adapter"].local(), private_key))


def signature_of(folder: Path, store: Store, adapter: Artifact | None) -> bytes | None:
    """That of an adapter of the store, else that in the folder."""
    if adapter:
        return store.objects.read(_name(adapter))
    return (folder / SIGNATURE).read_bytes() if (folder / SIGNATURE).is_file() else None


def require_signed(store: Store, adapter: Artifact, public_key: str | None) -> None:
    """UserError unless the private key of this public one signed the adapter as it is, if there is such a key."""
    if public_key and (found := unsigned(adapter["adapter"].local(), Path(public_key), store, adapter)):
        raise UserError(
            f"{adapter.about} is not as {public_key} vouches for: {named(found)}",
            f"`reground sign {adapter.about} --key …`, if you know where it comes from",
        )


def unsigned(folder: Path, public_key: Path, store: Store, adapter: Artifact | None) -> list[Fault]:
    """What of a bundle the key does not vouch for; its signature is in the store, else in the folder.

    UserError for what is no key.
    """
    verifying = _library("verifying")
    if (signature := signature_of(folder, store, adapter)) is None:
        return [Fault(SIGNATURE, "missing")]
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{public_key} is no public key: {error}", "`openssl ec -in key.pem -pubout`") from None
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, SIGNATURE)
        path.write_bytes(signature)
        try:
            verifier.verify(folder, path)
        except Exception:  # of its parsers, of cryptography, and its own
            return _differ(folder, signature) or [Fault(SIGNATURE, "not signed by this key")]
    return []


def _differ(folder: Path, signature: bytes) -> list[Fault]:
    """The files that are other than those that were signed, as far as the signature can be read."""
    try:
        payload = orjson.loads(base64.b64decode(orjson.loads(signature)["dsseEnvelope"]["payload"]))
        wanted = {each["name"]: each["digest"] for each in payload["predicate"]["resources"]}
    except (ValueError, KeyError, TypeError):
        return []
    there = {name: sha256_file(path) for name, path in files_below(folder).items() if name != SIGNATURE}
    return [
        Fault(name, "missing" if name not in there else "changed" if name in wanted else "not in the manifest")
        for name in sorted(wanted.keys() | there)
        if wanted.get(name) != there.get(name)
    ]


def _name(adapter: Artifact) -> str:
    return f"signatures/{adapter.step}-{adapter.key[:SHORT]}.sig"


def _library(part: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"model_signing.{part}")
    except ImportError:
        raise UserError("signatures need the library model-signing", install("sign")) from None
