"""What of a bundle is not as it was written goes nowhere, and its file is named; who wrote it, a signature tells."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.promotion.decisions import PromotionConfig, apply_decision
from flows.promotion.promotions import Promotions
from flows.serving.signing import require_signed, sign_adapter, unsigned
from flows.serving.swap import ServingConfig, swap
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_file
from tasks.engine.storage.artifact import write_manifest
from tasks.models.bundle import faults, read_manifest, require_intact, seal
from tests.flows.serving.test_serve import reground  # noqa: F401
from tests.flows.test_plan import flip

FILES = (
    "MANIFEST.json",
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "generation_config.json",
    "prompt.jinja",
    "prompt.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Private and public key of two pairs, as openssl makes them."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        private, public = folder / f"{name}.pem", folder / f"{name}.pub"
        subprocess.run(f"openssl ecparam -name prime256v1 -genkey -noout -out {private}".split(), check=True)
        subprocess.run(f"openssl ec -in {private} -pubout -out {public}".split(), check=True, capture_output=True)
    return folder


@pytest.fixture
def bundle(project) -> Path:
    return project.artifact("export") / "adapter"


def link(path: Path) -> None:
    path.rename(path.with_name(".aside"))
    path.symlink_to(path.with_name(".aside").rename(path.parents[1] / "aside"))


DAMAGE = {
    **{f"flipped {name}": (name, lambda folder, name=name: flip(folder / name)) for name in FILES},
    "added": ("extra.py", lambda folder: (folder / "extra.py").write_text("")),
    "added, hidden": (".extra", lambda folder: (folder / ".extra").write_text("")),
    "added below": ("more/extra", lambda folder: ((folder / "more").mkdir(), (folder / "more/extra").write_text(""))),
    "added link to a folder": ("elsewhere", lambda folder: (folder / "elsewhere").symlink_to("/")),
    "removed": ("prompt.json", lambda folder: (folder / "prompt.json").unlink()),
    "removed manifest": ("MANIFEST.json", lambda folder: (folder / "MANIFEST.json").unlink()),
    "renamed": ("tokenizer.json", lambda folder: (folder / "tokenizer.json").rename(folder / "other.json")),
    "a link in its place": ("adapter_config.json", lambda folder: link(folder / "adapter_config.json")),
}


def test_these_are_its_files(bundle):
    assert sorted(path.name for path in bundle.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("kind", DAMAGE)
def test_verify_serve_promote_and_the_servers_swap_refuse_it_and_name_the_file(reground, bundle, project, kind):  # noqa: F811
    store = project.config.open_store()
    (adapter,) = store.all("export")
    Promotions(store).promote(adapter, why="to have it swapped")
    name, damage = DAMAGE[kind]
    damage(bundle)
    for place in ("export", str(bundle)):
        code, out, _ = reground("verify", place)
        assert (code, name in out) == (1, True)
    promote = ("promote", "export", "--force", "--because", "x")
    for command in (("serve", "--print", "--adapter", "export"), ("serve", "--adapter", "export"), promote):
        code, _, err = reground(*command)
        assert (code, name in err) == (2, True), command
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        swap(store, ServingConfig(replicas=("http://127.0.0.1:1",), alias="served.json"))


def rewritten(bundle: Path) -> None:
    """Another card, and all manifests as if it had always been so."""
    facts, card = read_manifest(bundle), bundle / "README.md"
    text = card.read_text() + "Trust me.\n"
    card.unlink()
    card.write_text(text)
    (bundle / "MANIFEST.json").unlink()
    seal(bundle, facts)
    manifest = bundle.parent / "manifest.json"
    fields = json.loads(manifest.read_bytes())
    for name in ("README.md", "MANIFEST.json"):
        path = bundle / name
        fields["files"][f"adapter/{name}"] = {"size": path.stat().st_size, "sha256": sha256_file(path)}
    manifest.unlink()
    manifest.write_bytes(write_manifest(fields["step"], fields["key"], fields["files"], fields["made_ns"]))


def test_manifests_that_were_rewritten_to_fit_are_seen_by_the_signature_alone(reground, project, bundle, keys):  # noqa: F811
    store = project.config.open_store()
    before = {path: path.read_bytes() for path in bundle.parent.rglob("*") if path.is_file()}
    assert reground("sign", "export", "--key", str(keys / "ours.pem"))[0] == 0
    assert {path: path.read_bytes() for path in bundle.parent.rglob("*") if path.is_file()} == before
    trusts = ("-s", f"promotion.serving.public_key={keys}/ours.pub")
    promote = ("promote", "export", "--force", "--because", "x")
    assert reground("verify", "export", "--key", str(keys / "ours.pub"))[0] == 0
    assert reground("serve", "--print", "--adapter", "export", *trusts)[0] == 0
    assert reground(*promote, *trusts)[0] == 0
    rewritten(bundle)
    assert reground("verify", "export")[0] == 0 and reground("serve", "--print", "--adapter", "export")[0] == 0
    code, out, _ = reground("verify", "export", *trusts, "--json")
    assert code == 1
    assert json.loads(out) == [{"file": name, "problem": "changed"} for name in ("MANIFEST.json", "README.md")]
    for command in (("serve", "--print", "--adapter", "export"), promote, ("merge", "export", "out")):
        code, _, err = reground(*command, *trusts)
        assert (code, "README.md (changed)" in err) == (2, True), command
    (adapter,) = store.all("export")
    serving = ServingConfig(
        replicas=("http://127.0.0.1:1",), alias=str(keys / "alias"), public_key=str(keys / "ours.pub")
    )
    with pytest.raises(UserError, match=r"README\.md \(changed\)"):
        swap(store, serving)


def test_an_adapter_without_a_signature_or_with_anothers_is_not_promoted(project, keys):
    project.own_store()
    store = project.config.open_store()
    (adapter,) = store.all("export")
    ours = str(keys / "ours.pub")
    with pytest.raises(UserError, match=r"model\.sig \(missing\)"):
        require_signed(store, adapter, ours)
    sign_adapter(store, adapter, keys / "theirs.pem")
    with pytest.raises(UserError, match=r"model\.sig \(not signed by this key\)"):
        require_signed(store, adapter, ours)
    (name,) = store.objects.glob("signatures/*")
    sign_adapter(store, adapter, keys / "ours.pem")
    require_signed(store, adapter, ours)
    signature = store.objects.read(name)
    for at in range(0, len(signature), len(signature) // 40):  # some of its bytes
        changed = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        store.objects.write(name, changed)
        with pytest.raises(UserError, match="is not as"):
            require_signed(store, adapter, ours)
    for wrong in (keys / "none.pem", keys / "ours.pub"):
        with pytest.raises(UserError, match="cannot sign"):
            sign_adapter(store, adapter, wrong)


def test_a_retraining_signs_what_it_exports(project, made, keys):
    project.own_store()
    store = project.config.open_store()

    class Result:
        adapter, gate, report = (made.used[step] for step in ("export", "gate", "report"))

    assert unsigned(Result.adapter["adapter"].local(), keys / "ours.pub", store, Result.adapter)
    apply_decision(store, PromotionConfig(sign=str(keys / "ours.pem")), Result)
    assert not unsigned(Result.adapter["adapter"].local(), keys / "ours.pub", store, Result.adapter)


def test_a_copy_carries_its_signature_which_the_librarys_own_command_accepts(reground, bundle, keys, tmp_path):  # noqa: F811
    folder = shutil.copytree(bundle, tmp_path / "copy")
    assert reground("sign", str(folder), "--key", str(keys / "ours.pem"))[0] == 0
    (folder / ".cache/huggingface").mkdir(parents=True)
    (folder / ".cache/huggingface/lock").write_text("")  # as `hf download` leaves it
    assert reground("verify", str(folder), "--key", str(keys / "ours.pub"))[0] == 0
    words = ["verify", "key", str(folder), "--signature", str(folder / "model.sig")]
    command = [str(Path(sys.executable).with_name("model_signing")), *words, "--public_key", str(keys / "ours.pub")]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert reground("verify", str(folder), "--key", str(keys / "theirs.pub"))[0] == 1
    flip(folder / "prompt.json")
    seal(folder, read_manifest(folder))
    assert reground("verify", str(folder), "--key", str(keys / "ours.pub"))[0] == 1


def test_a_download_in_the_hubs_cache_is_made_of_links_and_intact(bundle, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/0"
    shutil.copytree(bundle, blobs)
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert require_intact(snapshot)
    flip(blobs / "prompt.json")
    assert faults(snapshot) == [("prompt.json", "changed")]
