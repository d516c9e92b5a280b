"""A retraining in a terminal is ended, in every way that people and machines end one: nothing of it is left."""

import os
import pty
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.production.service import ROOT, Service, children
from tests.production.test_failures import LONG
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


class Terminal:
    """`reground retrain` at a pty of its own, in the middle of its training."""

    def __init__(self, folder: Path) -> None:
        service = Service(folder)
        service.config.write_text(yaml.safe_dump(service.tree(**LONG)))
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.chdir(ROOT)
            for ended_by in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # ignored where tests run in the background
                signal.signal(ended_by, signal.SIG_DFL)
            words = [sys.executable, "-m", "flows.cli", "retrain", str(service.config)]
            os.execve(sys.executable, words, ours | {"PREFECT_HOME": str(folder / "prefect")})
        os.set_blocking(self.terminal, False)
        self.screen = ""
        wait_until(lambda: self.read() and children(folder), failed=lambda: self.screen)
        self.before = len(self.screen)

    def read(self) -> bool:
        while True:
            try:
                self.screen += os.read(self.terminal, 1 << 16).decode(errors="replace")
            except OSError:  # nothing to read, or all that write there are gone
                return True

    def left(self) -> list[str]:
        """The processes of the terminal's session."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
                words = (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if int(session) == self.pid and state != "Z":
                found.append(words)
        return found


@pytest.fixture
def terminal(tmp_path) -> Iterator[Terminal]:
    started = Terminal(tmp_path)
    assert any("uvicorn" in words for words in started.left())  # the server of its own
    yield started
    if started.left():
        os.killpg(started.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "way",
    ["Ctrl-C", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("SIGTERM", "SIGHUP", "SIGKILL", "closed"))],
)
def test_whatever_ends_it_nothing_is_left(terminal, way):
    if way == "Ctrl-C":
        os.write(terminal.terminal, b"\x03")
    elif way == "closed":  # its window: there is nothing to write to any more
        os.close(terminal.terminal)
    else:
        os.kill(terminal.pid, signal.Signals[way])
    began = time.monotonic()
    wait_until(lambda: terminal.read() and os.waitpid(terminal.pid, os.WNOHANG)[0])
    took = time.monotonic() - began
    wait_until(lambda: not terminal.left(), seconds=120, failed=lambda: str(terminal.left()))
    print(f"{way}: {took:.1f} s")
    if way in ("SIGKILL", "closed"):
        return
    said = terminal.screen[terminal.before :].replace("^C", "").split("\n")
    lines = [line.rpartition("\r\x1b[K")[2].strip() for line in said if "stopped by" in line or "Traceback" in line]
    assert len(lines) == 1 and lines[0].startswith("stopped by "), terminal.screen
    assert took < 60  # 2 to 5 s on a quiet machine
