"""Who computes a key: a lease that its holder renews, and that another process takes over when the holder is gone.

    .leases/train-3f2a9c01b7e4d582/1      {"process": …, "seconds": 30, "renewed": 7}

It needs exclusive creation of objects and nothing else: no file locks, no common clock. Whoever creates epoch n + 1
takes over from n; that is allowed once the holder of n is dead, or n was not renewed for its whole term by the clock of
the one who waits. A holder that lost its lease without noticing does no harm: publishing an artifact that exists
changes nothing.
"""

import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from tasks.engine.errors import UserError
from tasks.engine.storage.objects import Objects
from tasks.engine.storage.process import Process

LEASES = ".leases"
SECONDS = 30.0


@dataclass
class Lease:
    """A lease that this process holds; `lost` once another has taken over."""

    objects: Objects
    name: str
    epoch: int
    seconds: float
    lost: bool = False
    _renewed: int = 0
    _id: str = field(default_factory=lambda: secrets.token_hex(8))

    def content(self) -> bytes:
        fields = {"process": Process.this().plain(), "id": self._id, "seconds": self.seconds, "renewed": self._renewed}
        return orjson.dumps(fields)

    def renew(self) -> None:
        """Show that the holder is alive, unless another has taken over."""
        if max(_epochs(self.objects, self.name), default=self.epoch) != self.epoch:
            self.lost = True
            return
        self._renewed += 1
        self.objects.write(_path(self.name, self.epoch), self.content())


@contextmanager
def held(objects: Objects, name: str, seconds: float, say: Callable[[str], None]) -> Iterator[Lease]:
    """Hold the lease `name`, after waiting for whoever has it; `say` is called with whom."""
    lease = _acquire(objects, name, seconds, say)
    done = threading.Event()
    thread = threading.Thread(target=_heartbeat, args=(lease, done), name=f"lease {name}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join()
        if not lease.lost:
            objects.delete(_path(name, lease.epoch))


def live(objects: Objects) -> dict[str, str]:
    """Leases that are held: {name: by whom}. Those of other machines are watched until renewed, or for their term."""
    held_by: dict[str, str] = {}
    watches = {name: _Watch(objects, name) for name in {p.split("/")[1] for p in objects.glob(f"{LEASES}/*/*")}}
    while watches:
        for name, watch in list(watches.items()):
            state = watch.look()
            if state == "renewed":
                held_by[name] = watch.holder
            if state != "held":
                del watches[name]
        if watches:
            time.sleep(objects.patience)
    return held_by


def _acquire(objects: Objects, name: str, seconds: float, say: Callable[[str], None]) -> Lease:
    watch = _Watch(objects, name)
    waits_for = ""
    while True:
        state = watch.look()
        if state in ("free", "dead"):
            lease = Lease(objects, name, watch.epoch + 1, seconds)
            if objects.create(_path(name, lease.epoch), lease.content()):
                # Two who saw `free` at the same time see each other now, and both step back.
                others = [n for n in _epochs(objects, name) if n != lease.epoch and not watch.knows_dead(n)]
                if not others:
                    for epoch in watch.dead:
                        objects.delete(_path(name, epoch))
                    return lease
                objects.delete(_path(name, lease.epoch))
                time.sleep(random.uniform(0, 4 * objects.patience))
            continue
        if watch.holder != waits_for:
            waits_for = watch.holder
            say(f"waiting for {name.replace('-', '/', 1)}…, held by {waits_for}")
        time.sleep(random.uniform(0.5, 1) * min(objects.patience, seconds / 10))


class _Watch:
    """Looks at the newest epoch of a lease repeatedly, by the clock of this process."""

    def __init__(self, objects: Objects, name: str) -> None:
        self.objects, self.name = objects, name
        self.epoch = 0
        self.holder = ""
        self.dead: list[int] = []
        self._seen = b""
        self._since = 0.0

    def knows_dead(self, epoch: int) -> bool:
        return bool(self.dead) and epoch <= max(self.dead)

    def look(self) -> str:
        """`free`: nobody has it. `dead`: its holder is gone. `renewed`: its holder is alive. `held`: not known yet."""
        epochs = _epochs(self.objects, self.name)
        if not epochs:
            self.epoch, self.dead, self._seen = 0, [], b""
            return "free"
        content = self.objects.read(_path(self.name, max(epochs)))
        if content is None:
            return "held"  # released between the two requests: look again
        first = max(epochs) != self.epoch
        changed = first or content != self._seen
        if changed:
            self._since = time.monotonic()
        self.epoch, self._seen = max(epochs), content
        process, seconds = _parsed(content)
        self.holder = str(process) if process else "an unknown process"
        if (process and process.is_dead) or time.monotonic() - self._since > seconds:
            self.dead = epochs
            return "dead"
        return "renewed" if (changed and not first) or (process and process.is_alive) else "held"


def _parsed(content: bytes) -> tuple[Process | None, float]:
    """The holder of the lease, and its term in seconds; unreadable content has the default term."""
    try:
        fields: dict[str, Any] = orjson.loads(content)
        return Process(**fields["process"]), float(fields["seconds"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None, SECONDS


def _path(name: str, epoch: int) -> str:
    return f"{LEASES}/{name}/{epoch}"


def _epochs(objects: Objects, name: str) -> list[int]:
    ends = (path.rpartition("/")[2] for path in objects.glob(f"{LEASES}/{name}/*"))
    return sorted(int(end) for end in ends if end.isdigit())


def _heartbeat(lease: Lease, done: threading.Event) -> None:
    """Renew three times a term; a place that cannot be reached is tried again."""
    while not done.wait(lease.seconds / 3) and not lease.lost:
        try:
            lease.renew()
        except (UserError, OSError):
            continue
