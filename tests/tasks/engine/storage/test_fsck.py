"""`reground fsck`: every flaw found, and mended where a good copy is left. On a folder and on a bucket."""

import os

import pytest

from tasks.engine.inputs import sha256_json
from tasks.engine.storage.blobs import blob_name
from tasks.engine.storage.fsck import bytes_to_read, check
from tasks.engine.storage.store import MANIFEST, MISSING, Store
from tests.tasks.engine.storage.published import (
    EVERY,
    FILES,
    HARMS,
    SOME,
    contents,
    elsewhere,
    flip,
    harm_file,
    harm_object,
    key_of,
    publish,
)


def test_a_whole_store_has_no_findings_and_every_byte_of_it_is_read(store):
    publish(store, 1)
    publish(store, 2)
    read = []
    assert list(check(store, read.append)) == []
    assert sum(read) >= bytes_to_read(store) > sum(map(len, FILES.values()))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("harm", HARMS)
def test_each_flaw_of_a_folder_is_found_and_moved_aside_or_mended(tmp_path, name, harm):
    store = Store(tmp_path / "store")
    made, other = publish(store, 1), publish(store, 2, {"else": b"something else"})
    harm_file(made.folder / name, HARMS[harm])
    findings = list(check(store))
    assert any(name in finding.where + finding.problem for finding in findings)
    assert all(finding.mended for finding in findings)
    if harm == "delete" and name != MANIFEST:  # the blob is left
        assert [finding.done for finding in findings] == ["restored"]
        assert contents(store.find("toy", made.key).folder) == FILES
    else:
        assert store.problem("toy", made.key) is MISSING
        assert list((store.root / ".flawed/toy").iterdir())
    assert store.find("toy", other.key)
    assert list(check(store)) == []


def test_a_copy_that_rots_without_a_write_is_found_and_linked_anew(tmp_path):
    store = Store(tmp_path / "store")
    made = publish(store)
    path = made.folder / "report.md"
    path.unlink()
    path.write_bytes(flip(FILES["report.md"]))
    store.digests._keep(path.stat(), made.files["report.md"]["sha256"])  # as if the disk, not a write, had changed it
    assert store.find("toy", made.key), "without a write it cannot be seen by its stat"
    assert [finding.done for finding in check(store)] == ["restored"]
    assert contents(store.find("toy", made.key).folder) == FILES


@pytest.mark.parametrize(("harm", "name"), SOME)
def test_each_flaw_of_a_bucket_is_found_and_mended_from_a_good_copy_or_taken_out_of_use(
    bucket_store, tmp_path, name, harm
):
    made = publish(bucket_store)
    object_name = f"toy/{key_of()[:16]}/{MANIFEST}" if name == MANIFEST else blob_name(made.all_files[name]["sha256"])
    harm_object(bucket_store, object_name, HARMS[harm])
    if name == MANIFEST and harm == "delete":
        assert bucket_store.problem("toy", key_of()) is MISSING
        return
    other = elsewhere(bucket_store, tmp_path)
    if name == MANIFEST:
        assert [finding.done for finding in check(other)] == ["moved to .flawed; the next run makes it again"]
    else:
        assert "restored" in {finding.done for finding in check(bucket_store)}
        assert contents(other.find("toy", key_of()).folder) == FILES
    assert list(check(bucket_store)) == []


def test_a_harmed_blob_without_a_good_copy_takes_its_artifact_out_of_use(bucket_store, tmp_path):
    made = publish(bucket_store)
    harm_object(bucket_store, blob_name(made.files["report.md"]["sha256"]), flip)
    other = elsewhere(bucket_store, tmp_path)
    assert {finding.done for finding in check(other)} == {"removed", "moved to .flawed; the next run makes it again"}
    assert other.problem("toy", key_of()) is MISSING


def test_an_artifact_whose_record_gives_another_key_is_taken_out_of_use(store):
    with store.blobs.staging() as out:
        (out / "model").write_text("model")
        store.publish("toy", key_of(1), out, {"payload": {"step": "toy", "number": 2}, "inputs": {}})
    (finding,) = check(store)
    assert "its key is not the one" in finding.problem
    assert store.problem("toy", key_of(1)) is MISSING


def test_an_alias_of_what_is_gone_cannot_be_mended(store):
    store.point("serving", "train", sha256_json("gone"))
    (finding,) = check(store)
    assert (finding.where, finding.mended) == ("alias serving", False)
    assert os.fspath(store.root)
