"""Identifies a process so that others can check whether it is alive."""

import getpass
import os
import socket
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Process:
    """A process by its number, its start (clock ticks after boot) and its place.

    `place` is a hash of the boot and of the PID namespace: in another container or after a reboot the same number is
    another process. It is empty where the system has no /proc.
    """

    user: str
    host: str
    place: str
    pid: int
    started: int

    @classmethod
    def this(cls) -> Self:
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Self:
        """A process of this user on this machine."""
        return cls(_user(), socket.gethostname(), _place(), pid, _started(pid) or 0)

    @classmethod
    def from_tag(cls, tag: str) -> Self:
        """The process that `tag` names; raises ValueError if it names none."""
        place, pid, started = tag.split("-")[:3]
        return cls("", "", place, int(pid), int(started))

    @property
    def tag(self) -> str:
        """Its identity, as the first part of a file name."""
        return f"{self.place}-{self.pid}-{self.started}"

    @property
    def is_dead(self) -> bool:
        """Whether it has certainly ended; False also if that cannot be known from this machine."""
        return self._is_near and _started(self.pid) != self.started

    @property
    def is_alive(self) -> bool:
        """Whether it certainly runs; False also if that cannot be known from this machine."""
        return self._is_near and _started(self.pid) == self.started

    @property
    def _is_near(self) -> bool:
        return bool(self.place) and self.place == _place()

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.user}@{self.host} pid {self.pid}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())


@cache
def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return sha256((boot + os.readlink("/proc/self/ns/pid")).encode()).hexdigest()[:12]
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When it started, in clock ticks; None if there is no such process, or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # its name, in parentheses, may hold spaces
    return None if fields[0] in "ZX" else int(fields[19])
