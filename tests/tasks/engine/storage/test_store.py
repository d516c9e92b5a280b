"""The store's promises, on a folder and on a bucket."""

import os
import shutil
import sys

import pytest

from tasks.engine.errors import UserError, WiringError
from tasks.engine.storage.blobs import blob_name
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


def test_what_was_published_is_found_with_the_same_bytes(store, tmp_path):
    assert store.find("toy", key_of()) is None
    assert store.problem("toy", key_of()) is MISSING
    published = publish(store)
    other = elsewhere(store, tmp_path)
    for seen in (store, other):
        found = seen.find("toy", key_of())
        assert found.digest == published.digest
        assert contents(found.folder) == FILES
        assert found.record.payload["number"] == 1


def test_a_part_is_an_input_of_its_own_and_only_it_is_fetched(store, tmp_path):
    publish(store)
    part = elsewhere(store, tmp_path).find("toy", key_of())["model"]
    assert {path.name for path in part.local().iterdir()} == {"weights.bin", "config.json"}
    if "://" in store.url:
        assert not (part.local().parent / "report.md").exists()
    with pytest.raises(WiringError, match="there is no part 'nothing'"):
        part["nothing"]


def test_identical_files_are_stored_once(store):
    first, second = publish(store, 1), publish(store, 2)
    name = "model/weights.bin"
    assert os.path.samefile(first.folder / name, second.folder / name)
    if "://" in store.url:
        listed = store.objects.glob(".blobs/*/*")
        assert len(listed) == len({each["sha256"] for a in (first, second) for each in a.all_files.values()})


def test_all_match_and_recent_tell_the_newest(store, tmp_path):
    made = [publish(store, number) for number in range(3)]
    publish(store, 9, step="other")
    for seen in (store, elsewhere(store, tmp_path)):
        assert [a.key for a in seen.all("toy")] == [a.key for a in made]
        assert [a.step for a in seen.all()] == ["toy", "toy", "toy", "other"]
        assert [a.key for a in seen.recent("toy", most=2)] == [made[2].key, made[1].key]
        assert seen.match("toy").key == made[2].key
        assert seen.match(f"toy/{made[0].key[:8]}").key == made[0].key
        assert seen.match(made[1].key[:8]).key == made[1].key
        with pytest.raises(UserError, match="no artifact matches 'nothing'"):
            seen.match("nothing")


def test_the_first_to_publish_a_key_counts(store):
    first = publish(store, 1, {"answer": b"first"})
    second = publish(store, 1, {"answer": b"second"})
    assert second.digest == first.digest
    assert (second.folder / "answer").read_bytes() == b"first"


def test_a_staged_link_to_elsewhere_is_published_as_its_content(store, tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("as it was")
    with store.blobs.staging() as out:
        (out / "taken.txt").symlink_to(source)
        made = store.publish("toy", key_of(), out, {"payload": {}})
    source.write_text("as it is now")
    assert (made.folder / "taken.txt").read_text() == "as it was"
    assert store.find("toy", key_of())


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_file_of_a_folder_is_detected_and_made_good_by_publishing_again(tmp_path, name, harm):
    store = Store(tmp_path / "store")
    published = publish(store)
    assert store.find("toy", key_of())
    harm_file(published.folder / name, HARMS[harm])
    flaw = store.problem("toy", key_of())
    assert name in str(flaw)
    assert store.recent("toy") == []
    again = publish(store)
    assert store.problem("toy", key_of()) is None
    assert contents(again.folder) == FILES


@pytest.mark.parametrize(("harm", "name"), SOME)
def test_a_harmed_copy_of_a_bucket_is_fetched_again(bucket_store, name, harm):
    store = bucket_store
    published = publish(store)
    harm_file(published.folder / name, HARMS[harm])
    found = store.find("toy", key_of())
    assert contents(found.folder) == FILES
    assert (found.folder / MANIFEST).read_bytes() == published.manifest
    assert found.record.key == key_of()


@pytest.mark.parametrize(("harm", "name"), SOME)
def test_a_harmed_object_of_a_bucket_is_never_used_and_made_good_by_publishing_again(
    bucket_store, tmp_path, name, harm
):
    published = publish(bucket_store)
    harmed = MANIFEST if name == MANIFEST else blob_name(published.all_files[name]["sha256"])
    harm_object(bucket_store, f"toy/{key_of()[:16]}/{MANIFEST}" if name == MANIFEST else harmed, HARMS[harm])
    other = elsewhere(bucket_store, tmp_path)
    if found := other.find("toy", key_of()):  # only its bytes are wrong: seen as it is fetched
        with pytest.raises(UserError, match="(?s)is damaged.*run again"):
            assert found.folder
        assert other.find("toy", key_of()) is None
    third = Store(bucket_store.url, cache=tmp_path / "third")
    publish(other)
    assert contents(third.find("toy", key_of()).folder) == FILES


def test_a_harmed_blob_harms_every_artifact_that_shares_it_and_each_is_told(tmp_path):
    store = Store(tmp_path / "store")
    first, second = publish(store, 1), publish(store, 2)
    harm_file(store.blobs.path(first.files["report.md"]["sha256"]), flip)
    assert "report.md" in str(store.problem("toy", first.key))
    assert "report.md" in str(store.problem("toy", second.key))
    publish(store, 1)
    assert store.find("toy", first.key)


def test_an_artifact_stays_whole_when_the_blobs_are_gone(tmp_path):
    store = Store(tmp_path / "store")
    publish(store)
    shutil.rmtree(store.root / ".blobs")
    assert store.find("toy", key_of())
    assert publish(store, 2).folder


def test_a_store_without_hard_links_works_with_copies(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    store = Store(tmp_path / "store")
    first, second = publish(store, 1), publish(store, 2)
    assert store.find("toy", first.key)
    assert not os.path.samefile(first.folder / "report.md", second.folder / "report.md")
    with store.lease("toy", key_of(3)):
        pass


def test_aliases_are_replaced_and_match_like_keys(store, tmp_path):
    first, second = publish(store, 1), publish(store, 2)
    assert store.aliases() == {}
    store.point("serving", "toy", first.key)
    store.point("serving", "toy", second.key)
    other = elsewhere(store, tmp_path)
    assert other.aliases()["serving"].key == second.key
    assert set(other.aliases()) == {"serving"}
    assert other.match("serving").key == second.key
    with pytest.raises(UserError, match="not a valid name"):
        store.point("../escape", "toy", first.key)


def test_runs_are_logged_as_their_steps_finish(store, tmp_path):
    made = publish(store)
    other = elsewhere(store, tmp_path)
    with store.log_run("tiny") as run:
        run.step_done("toy", made)
        (seen,) = other.runs()
        assert (seen.status, seen.steps) == ("running", {"toy": {"step": "toy", "key": made.key}})
    with pytest.raises(ZeroDivisionError), store.log_run("broken"):
        raise ZeroDivisionError
    store.log_fresh_run("fresh", {"toy": made})
    told = [(run.name, run.status) for run in other.runs()]
    assert told == [("fresh", "completed"), ("broken", "failed"), ("tiny", "completed")]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://no-such-bucket-here/x", "there is no bucket 'no-such-bucket-here'"),
        ("ftp://host/x", "ftp://host/x is no place for artifacts"),
    ],
)
def test_a_place_that_cannot_be_is_refused_by_name(s3, tmp_path, url, says):
    with pytest.raises(UserError, match=says):
        publish(Store(url, cache=tmp_path))


def test_a_service_that_does_not_answer_is_named(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(UserError, match="s3://reground/x.*127.0.0.1:9") as error:
        Store("s3://reground/x", cache=tmp_path).all()
    assert "AWS_ENDPOINT_URL" in error.value.remedy


def test_a_missing_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UserError, match=r"pip install 'reground\[s3\]'"):
        Store("s3://anywhere/x", cache=tmp_path).all()


def test_credentials_region_and_endpoint_may_come_from_a_profile(bucket_store, tmp_path, monkeypatch):
    publish(bucket_store)
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[profile team]\nregion = us-east-1\nendpoint_url = {endpoint}\n")
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert elsewhere(bucket_store, tmp_path).find("toy", key_of())
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="no AWS credentials") as error:
        elsewhere(bucket_store, tmp_path).all()
    assert "AWS_PROFILE" in error.value.remedy


def test_a_forked_process_that_would_hang_in_a_bucket_is_refused(bucket_store):
    assert bucket_store.all() == []
    child = os.fork()
    if not child:
        try:
            bucket_store.all()
        except RuntimeError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
