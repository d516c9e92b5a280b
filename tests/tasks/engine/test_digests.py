"""Digests that are remembered: never wrong, and nothing read twice."""

import gc
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256

import pytest

from tasks.engine.digests import RACY_NS, Digests


@pytest.fixture
def database(tmp_path):
    return tmp_path / "cache/digests.sqlite"


@pytest.fixture
def path(tmp_path):
    """A file that was written a while ago."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    time.sleep(1.5 * RACY_NS / 1e9)
    return path


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def test_a_file_is_read_once_also_by_the_next_process(database, path):
    first = Digests(database)
    assert first.of(path) == digest(b"content")
    first.commit()
    assert Digests(database).known(path.stat()) == digest(b"content")


def test_a_byte_that_changed_shows_although_size_and_mtime_were_put_back(database, path):
    digests = Digests(database)
    before = path.stat()
    digests.of(path)
    path.write_bytes(b"cOntent")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert digests.known(path.stat()) is None
    assert digests.of(path) == digest(b"cOntent")


def test_what_was_written_just_now_is_not_remembered(database, tmp_path):
    digests = Digests(database)
    path = tmp_path / "new"
    for number in range(200):  # within one tick of the file system's clock all of these look alike
        content = b"%03d" % number
        path.write_bytes(content)
        assert digests.of(path) == digest(content)


def test_a_link_that_we_make_is_known_and_one_of_others_is_read_again(database, path, tmp_path):
    digests = Digests(database)
    digests.of(path)
    digests.link(path, tmp_path / "ours")
    assert digests.known(path.stat()) == digests.known((tmp_path / "ours").stat()) == digest(b"content")
    os.link(path, tmp_path / "theirs")
    assert digests.known(path.stat()) is None
    assert digests.of(path) == digest(b"content")


def test_a_write_while_we_change_links_is_seen(database, path, tmp_path):
    digests = Digests(database)
    digests.of(path)
    with digests.carried([path]):
        os.link(path, tmp_path / "ours")
        path.write_bytes(b"cOntent")
    assert digests.of(path) == digest(b"cOntent")


@pytest.mark.parametrize("harm", [b"", b"no database", None])
def test_a_harmed_or_lost_database_costs_only_reading(database, path, harm):
    first = Digests(database)
    first.of(path)
    first.commit()
    del first
    gc.collect(1)  # closes the connection, as the end of its process would; all of torch's objects take seconds
    if harm is None:
        database.unlink()
    else:
        database.write_bytes(harm * 1000)
    for _ in range(2):  # the first one may only find out, the second starts anew
        digests = Digests(database)
        assert digests.of(path) == digest(b"content")
        digests.commit()
        del digests
        gc.collect(1)
    assert Digests(database).known(path.stat()) == digest(b"content")


def test_without_a_place_for_the_database_files_are_read(path, tmp_path):
    (tmp_path / "file-in-the-way").write_text("")
    for place in (None, tmp_path / "file-in-the-way/digests.sqlite", tmp_path):
        digests = Digests(place)
        assert digests.of(path) == digest(b"content")
        digests.commit()


FILL = """
import sys
from pathlib import Path
from tasks.engine.digests import Digests

database, folder = map(Path, sys.argv[1:])
while True:
    digests = Digests(database)
    for path in sorted(folder.iterdir()):
        digests.of(path)
        digests._keep(path.stat(), digests.of(path))
        digests.commit()
    print("round", flush=True)
"""


def test_processes_share_it_and_may_be_killed(database, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number:02}").write_text(str(number))
    time.sleep(1.5 * RACY_NS / 1e9)
    for _ in range(3):
        command = [sys.executable, "-c", FILL, str(database), str(folder)]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
        for process in processes:
            process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
    digests = Digests(database)
    known = [digests.known(path.stat()) for path in sorted(folder.iterdir())]
    assert known == [digest(str(number).encode()) for number in range(50)]
