"""A disk that fills up, for real: a tmpfs of a few MiB."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.engine import Config, step
from tasks.engine.errors import UserError, disk_explained
from tasks.engine.inputs import Files
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.storage.fsck import check
from tasks.engine.storage.objects import temporary
from tasks.engine.storage.store import MISSING, Store
from tests.tasks.engine.storage.published import key_of, publish

MIB = 2**20


class WriteConfig(Config):
    mebibytes: int = 1


@step()
def write(config: WriteConfig, *, rows: list[Path], work: Path, out: Path) -> None:
    """Writes what no two runs have in common; its work outlives a crash."""
    (work / "half").write_text("done half")
    for number in range(config.mebibytes):
        (out / f"{number}.bin").write_bytes(bytes([config.mebibytes, number]) * (MIB // 2))


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of 8 MiB."""
    folder = tmp_path / "disk"
    if not mount(folder):
        pytest.skip("no disk may be mounted here; see the last test of this file")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def mount(folder: Path) -> bool:
    """Mount a disk of 8 MiB. Root may, and not in every container."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]
    return subprocess.run(words, capture_output=True).returncode == 0


def request_for(mebibytes: int, rows: Path) -> Request:
    return Request(write, WriteConfig(mebibytes=mebibytes), {"rows": Files((rows,))}, "write")


def test_a_full_disk_is_told_harms_nothing_and_the_run_goes_on_when_there_is_space_again(disk, rows):
    store = Store(disk / "store")
    made, _ = make(request_for(2, rows), store)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(3 * MIB))
    with pytest.raises(UserError, match="no space left on the disk") as error:
        make(request_for(5, rows), store)
    assert str(disk) in error.value.what
    assert "free some space" in error.value.remedy
    assert list(check(store)) == []
    assert store.find("write", made.key)
    assert len(store.all()) == 1
    assert not list((store.root / ".staging").iterdir())
    assert store.work("write", request_for(5, rows).key).exists()
    ballast.unlink()
    again, there = make(request_for(5, rows), store)
    assert not there
    assert store.find("write", again.key)
    assert list(check(store)) == []


@pytest.mark.parametrize("left", [0, 1, 2, 3, 5, 8, 12, 16, 24])
def test_wherever_publishing_runs_out_of_space_nothing_half_made_is_seen(disk, left):
    """`left` is the pages of 4 KiB that remain: they end in the lease, the blobs, the manifest, or suffice."""
    store = Store(disk / "store")
    whole = publish(store, 1)
    with (disk / "ballast").open("wb") as file:
        free = os.statvfs(disk)
        file.write(bytes(max(0, free.f_bavail - left) * free.f_frsize))
    try:
        with store.lease("toy", key_of(2)):
            publish(store, 2, {"model": b"m" * 9000, "report.md": b"other"})
    except OSError as error:
        assert error.errno == 28  # ENOSPC, which `make` tells in words
        assert store.problem("toy", key_of(2)) is MISSING
    else:
        assert store.find("toy", key_of(2))
    assert store.find("toy", whole.key)
    (disk / "ballast").unlink()
    assert list(check(store)) == []
    publish(store, 2, {"model": b"m" * 9000, "report.md": b"other"})
    assert store.find("toy", key_of(2))


def test_a_full_disk_while_fetching_from_a_bucket_is_told(bucket_store, disk, rows):
    publish(bucket_store, 1, {"model": b"m" * (3 * MIB)})
    store = Store(bucket_store.url, cache=disk, lease_seconds=2)
    (disk / "ballast").write_bytes(bytes(6 * MIB))
    with pytest.raises(UserError, match="no space left on the disk"):
        assert store.find("toy", key_of(1)).folder
    (disk / "ballast").unlink()
    assert (store.find("toy", key_of(1)).folder / "model").stat().st_size == 3 * MIB


def test_a_digest_database_on_a_full_disk_costs_only_reading(disk, tmp_path):
    script = (
        "import sys; from pathlib import Path; from tasks.engine.digests import digests\n"
        "for p in Path(sys.argv[1]).iterdir(): digests().of(p)\n"
        "digests().commit(); print('read all')"
    )
    files = tmp_path / "files"
    files.mkdir()
    for number in range(100):
        (files / str(number)).write_text(str(number))
    (disk / "ballast").write_bytes(bytes(8 * MIB - 4096))
    environment = {**os.environ, "XDG_CACHE_HOME": str(disk)}
    done = subprocess.run([sys.executable, "-c", script, str(files)], env=environment, capture_output=True, text=True)
    assert done.stdout == "read all\n", done.stderr


def test_all_of_this_in_a_user_namespace_of_ones_own(tmp_path):
    if mount(tmp_path / "disk"):
        subprocess.run(["umount", "-l", tmp_path / "disk"], check=True)
        pytest.skip("a disk may be mounted here: the tests above ran")
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no user namespaces")
    words = ["unshare", "-rm", sys.executable, "-m", "pytest", __file__, "-p", "no:cacheprovider"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_a_disk_that_may_only_be_read_is_told_with_the_remedy(disk, rows):
    store = Store(disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(UserError, match="store: the disk is read-only") as error:
        make(request_for(1, rows), store)
    assert "set `store`" in error.value.remedy


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/team/store/x"), "/team/store/x: this user may not read or write"),
        (NotADirectoryError(20, "Not a directory", "/team/notes.txt/x"), "/team/notes.txt/x: a part of this path is a"),
        (OSError(28, "Error writing bytes to file"), "no space left on the disk"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "no space left on the disk"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "no space left"),
    ],
    ids=["closed", "a file", "pyarrow", "safetensors", "torch"],
)
def test_what_libraries_raise_is_told_in_one_line(error, told):
    with pytest.raises(UserError, match=told), disk_explained():
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), PermissionError(1, "Operation not permitted")], ids=str)
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(type(error)), disk_explained():
        raise error


def test_published_files_have_the_permissions_that_umask_grants(tmp_path):
    mask = os.umask(0o022)
    try:
        store = Store(tmp_path / "store")
        with store.blobs.staging() as staged:
            (staged / "weights").write_text("0.5")
            (staged / "weights").chmod(0o600)  # as safetensors does
            made = store.publish("toy", key_of(1), staged, {})
    finally:
        os.umask(mask)
    assert (made.folder / "weights").stat().st_mode & 0o777 == 0o644


def test_a_place_where_the_kernel_makes_no_folder_is_named():
    with pytest.raises(UserError, match="/proc/store: no folder can be made there"), temporary(Path("/proc/store")):
        pass
