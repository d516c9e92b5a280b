"""Names from configs and from what others may have written to a store never lead out of it."""

import hashlib

import boto3
import pytest

from tasks.engine.errors import UserError
from tasks.engine.inputs import leads_out
from tasks.engine.storage.artifact import RECORD, Artifact, write_manifest
from tasks.engine.storage.objects import Folder
from tasks.engine.storage.store import Store

OUTSIDE = ["../x", "a/../../x", "/x", "a//x", "./x", "a/.", "..", "", "a\\x", "a\0x"]
KEY = "ab" * 32
GOOD = {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_object_is_read_or_written_outside(store, tmp_path, name):
    assert leads_out(name)
    objects = store.objects
    for attempt in (
        lambda: objects.read(name),
        lambda: objects.write(name, b"x"),
        lambda: objects.create(name, b"x"),
        lambda: objects.delete(name),
    ):
        with pytest.raises(UserError, match="not a name in a store"):
            attempt()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["a", "a/b", "a/.hidden", "..a/b..", "a b/ä.json"])
def test_plain_names_are_taken(tmp_path, name):
    Folder(tmp_path).write(name, b"x")
    assert Folder(tmp_path).read(name) == b"x"


@pytest.mark.parametrize("alias", ["../x", "a/b", "..", ""])
def test_an_alias_is_no_path(store, alias):
    with pytest.raises(UserError, match="not a valid name"):
        store.point(alias, "train", KEY)


def test_a_name_of_a_registered_model_is_no_path(tmp_path):
    from flows.promotion.registry import update_registry

    with pytest.raises(UserError, match="not a name in a store"):
        update_registry(Store(tmp_path / "store"), "../../x")


def forged(step: str = "copy", key: str = KEY, **files: dict) -> bytes:
    """A manifest that is whole, as whoever may write to the store can write it."""
    return write_manifest(step, key, {RECORD: GOOD, **files}, 1)


@pytest.mark.parametrize(
    "manifest",
    [
        *(forged(**{name: GOOD}) for name in OUTSIDE if "\0" not in name),
        forged(rows={"size": 1, "sha256": "../../../x"}),
        forged(rows={"size": 1, "sha256": "AB" * 32}),
        forged(rows={"size": -1, "sha256": "ab" * 32}),
        forged(rows={"size": "1", "sha256": "ab" * 32}),
        forged(**{"manifest.json": GOOD}),
        forged(step=".."),
        forged(step="a/b"),
        forged(key=".."),
        forged(key="../" * 20),
        write_manifest("copy", KEY, {"rows": GOOD}, 1),
    ],
)
def test_a_forged_manifest_is_none(tmp_path, manifest):
    assert Artifact.from_manifest(manifest, Store(tmp_path)) is None


def test_the_same_manifest_with_plain_names_is_one(tmp_path):
    assert Artifact.from_manifest(forged(**{"rows/0.arrow": GOOD}), Store(tmp_path))


def test_a_bucket_that_was_written_by_others_writes_nothing_outside_of_the_cache(bucket_store, tmp_path):
    """An intact manifest and its blobs, all digests right, but for the place of one file."""
    name, _, prefix = bucket_store.url.removeprefix("s3://").partition("/")

    def put(step: str) -> None:
        content = forged(step, **{"../../../../escaped": GOOD})
        boto3.client("s3").put_object(Bucket=name, Key=f"{prefix}/{step}/{KEY[:16]}/manifest.json", Body=content)

    bucket_store.objects.write(f".blobs/{GOOD['sha256'][:2]}/{GOOD['sha256']}", b"x")
    put("copy")
    assert bucket_store.find("copy", KEY) is None
    assert "damaged" in str(bucket_store.problem("copy", KEY))
    assert bucket_store.all() == []
    put("..")
    with pytest.raises(UserError, match="invalid path"):
        bucket_store.all()
    assert not list(tmp_path.rglob("escaped"))
