"""What `reground gc` keeps, and what goes. On a folder and on a bucket."""

import subprocess
import sys
import threading
import time

from tasks.engine.storage.copies import publishing
from tasks.engine.storage.gc import Collected, Item
from tasks.engine.storage.gc import collect as collect_with
from tasks.engine.storage.lease import LEASES, held
from tasks.engine.storage.store import Artifact, Store
from tests.tasks.engine.storage.published import FILES, elsewhere, key_of, leave_behind, publish
from tests.waiting import PATIENCE


def collect(store: Store, roots: dict | None = None, **options) -> Collected:
    return collect_with(store, lambda: roots or {}, **options)


def chain(store: Store, start: int) -> list[Artifact]:
    """Two artifacts, the second made from the first."""
    first = publish(store, start, {"data": b"data %d" % start, "shared": b"s" * 1000}, step="build")
    given = {"digest": first.digest, "step": "build", "key": first.key, "part": ""}
    second = publish(
        store, start + 1, {"model": b"model %d" % start}, step="train", inputs={"rows": given, "base": None}
    )
    return [first, second]


def kept(items: list[Item], kind: str = "artifact") -> dict[str, str]:
    return {item.name: item.why for item in items if item.kind == kind and item.keep}


def gone(items: list[Item], kind: str = "artifact") -> set[str]:
    return {item.name for item in items if item.kind == kind and not item.keep}


def test_a_dry_run_is_the_default_and_touches_nothing(store):
    made = chain(store, 1)
    found = collect(store, older_than=0)
    assert gone(found.items) == {a.about for a in made}
    assert found.freed > 1000
    assert len(store.all()) == 2


def test_young_artifacts_and_what_they_were_made_from_stay(store):
    made = chain(store, 1)
    found = collect(store, delete=True)
    assert kept(found.items) == {a.about: "young" for a in made}
    assert found.freed == 0


def test_what_an_alias_or_a_recent_run_reaches_stays_and_the_rest_goes(store, tmp_path):
    champion, recent, old = chain(store, 1), chain(store, 11), chain(store, 21)
    store.point("serving", "train", champion[1].key)
    store.log_fresh_run("old", {"train": old[1]})
    for _ in range(5):  # runs that found all fresh are one
        store.log_fresh_run("tiny", {"train": recent[1]})
    found = collect(store, older_than=0, keep_runs=1, delete=True)
    why = kept(found.items)
    assert why[champion[1].about] == "alias serving"
    assert why[champion[0].about] == f"input of {champion[1].about}"
    assert why[recent[1].about].startswith("run tiny, ")
    assert why[recent[0].about] == f"input of {recent[1].about}"
    assert gone(found.items) == {a.about for a in old}
    other = elsewhere(store, tmp_path)
    for seen in (store, other):
        assert {a.about for a in seen.all()} == set(why)
        assert all(seen.find(a.step, a.key).folder for a in champion + recent)
    digests = {each["sha256"] for a in store.all() for each in a.all_files.values()}
    left = store.objects.glob(".blobs/*/*")
    assert {name.rpartition("/")[2] for name in left} == digests


def test_a_root_stays_with_its_inputs_and_its_reason(store):
    kept_ones, old = chain(store, 1), chain(store, 11)
    found = collect(store, {kept_ones[1].about: "champion"}, older_than=0, delete=True)
    assert kept(found.items)[kept_ones[1].about] == "champion"
    assert kept_ones[0].about in kept(found.items)
    assert gone(found.items) == {a.about for a in old}


def test_what_goes_frees_only_what_nothing_kept_shares(store):
    first, second = chain(store, 1), chain(store, 11)
    store.point("serving", "train", second[1].key)
    found = collect(store, older_than=0, delete=True)
    assert gone(found.items) == {a.about for a in first}
    shared = first[0].files["shared"]
    assert found.freed == sum(
        each["size"] for a in first for each in a.all_files.values() if each["sha256"] != shared["sha256"]
    )


def test_kept_files_are_known_still_and_not_read_again(tmp_path):
    store = Store(tmp_path / "store")
    first, second = publish(store, 1), publish(store, 2)
    store.point("serving", "toy", second.key)
    time.sleep(0.2)
    store.find("toy", second.key)
    weights = second.folder / "model/weights.bin"
    assert store.digests.known(weights.stat())
    collect(store, older_than=0, delete=True)
    assert store.open("toy", first.key) is None
    assert store.digests.known(weights.stat())


def test_a_run_that_goes_on_keeps_what_it_used(store):
    made, other = chain(store, 1), chain(store, 11)
    with store.log_run("going on") as run:
        run.step_done("train", made[1])
        store.log_fresh_run("later", {"train": other[1]})
        found = collect(store, older_than=0, keep_runs=1)
    assert set(kept(found.items)) == {a.about for a in made + other}


def test_a_key_that_is_held_stays(store):
    (made, _) = chain(store, 1)
    with store.lease("build", made.key):
        found = collect(store, older_than=0, delete=True)
    assert "held by" in kept(found.items)[made.about]
    assert store.find("build", made.key)


def test_what_crashed_and_failed_runs_left_goes_when_it_is_old_or_its_process_died(store, monkeypatch):
    store.root.mkdir(parents=True, exist_ok=True)
    child = subprocess.run([sys.executable, "-c", TAG], capture_output=True, text=True, check=True)
    for name in (".work/train/0123456789abcdef/half", ".failed/train-01/report", ".flawed/train/01-2/model"):
        (store.root / name).parent.mkdir(parents=True)
        (store.root / name).write_text("left behind")
    dead = store.root / ".staging" / child.stdout.strip()
    dead.mkdir(parents=True)
    leave_behind(store, "train-feed", monkeypatch)
    young = collect(store).items
    assert gone(young, "staging") == {f".staging/{dead.name}"}
    assert gone(young, "work") | gone(young, "failed") | gone(young, "flawed") == set()
    found = collect(store, older_than=0, delete=True)
    assert gone(found.items, "lease") == {f"{LEASES}/train-feed"}
    left = {path.name for path in store.root.rglob("*") if path.is_file() and path.name != ".conditional-writes"}
    assert left == set()
    assert store.objects.glob(f"{LEASES}/*/*") == {}


TAG = "from tasks.engine.storage.process import Process; print(Process.this().tag + '-9f31')"


def test_a_folder_that_is_no_artifact_any_more_goes(tmp_path):
    store = Store(tmp_path / "store")
    made = publish(store)
    (made.folder / "manifest.json").unlink()
    assert gone(collect(store, older_than=0, delete=True).items, "flawed") == {made.about}
    assert not made.folder.exists()


def test_blobs_stay_while_another_publishes(bucket_store, tmp_path):
    publish(bucket_store)
    bucket_store.remove("toy", key_of())
    before = set(bucket_store.objects.glob(".blobs/*/*"))
    other = elsewhere(bucket_store, tmp_path)
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with publishing(other.objects, other.lease_seconds):
            entered.set()
            leave.wait(PATIENCE)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(PATIENCE)
    collect(bucket_store, older_than=0, delete=True)
    assert set(bucket_store.objects.glob(".blobs/*/*")) == before
    leave.set()
    thread.join()
    collect(bucket_store, older_than=0, delete=True)
    assert bucket_store.objects.glob(".blobs/*/*") == {}


def test_a_publisher_waits_for_a_collection(bucket_store, tmp_path):
    other = elsewhere(bucket_store, tmp_path)
    done = threading.Event()

    def work() -> None:
        publish(other)
        done.set()

    with held(bucket_store.objects, "gc", 2, print):
        thread = threading.Thread(target=work)
        thread.start()
        assert not done.wait(2)
    assert done.wait(PATIENCE)
    thread.join()
    assert bucket_store.find("toy", key_of())


PUBLISH = """
import sys
from pathlib import Path
from tasks.engine.storage.store import Store
from tests.tasks.engine.storage.published import publish

store = Store(sys.argv[1], cache=Path(sys.argv[2]), lease_seconds=2)
for number in range(int(sys.argv[3])):
    publish(store, number)
"""


def test_collections_beside_publishers_lose_nothing(store, tmp_path):
    count = 40 if "://" not in store.url else 4
    command = [sys.executable, "-c", PUBLISH, store.url, str(tmp_path / "cache"), str(count)]
    process = subprocess.Popen(command)
    while process.poll() is None:
        collect(store, delete=True)
        time.sleep(0.2)
    assert process.returncode == 0
    for number in range(count):
        assert store.problem("toy", key_of(number)) is None
        assert (store.open("toy", key_of(number)).folder / "report.md").read_bytes() == FILES["report.md"]
