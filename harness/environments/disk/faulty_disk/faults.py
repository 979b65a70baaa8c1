"""The faults of a disk, and their counters.

    latency_ns   every sync takes so much longer, and every read that reaches the disk
    error        EIO (or another name of an error): reads, writes, syncs and changes fail with it
    full         what needs room fails with ENOSPC, and there is none
    torn         a write of more than a sector stores whole sectors from its beginning, then fails
    flip         an event and no state: one bit of one file at rest is changed, without an error

Counts only grow. The evidence that a fault bit is that its count did: what a disk would have done
to a database which never used it proves nothing.
"""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

SECTOR_BYTES = 512
KINDS = ("latency_ns", "error", "full", "torn", "flip")
READ, WRITE, SYNC, CHANGE, GROW = "read", "write", "sync", "change", "grow"
_FAILING = frozenset({READ, WRITE, SYNC, CHANGE, GROW})
_SLOW = frozenset({READ, SYNC})
_NEED_ROOM = frozenset({WRITE, GROW})


def check(faults: Mapping[str, Any]) -> dict[str, Any]:
    """Faults as asked for, ``flip`` left out.

    Raises:
        ValueError: there is no such fault, or no such value of it.
    """
    for name, value in faults.items():
        if name not in KINDS:
            raise ValueError(f"a disk has no fault {name!r}; there are: {', '.join(KINDS)}")
        if name == "latency_ns" and not (type(value) is int and value >= 0):
            raise ValueError(f"latency_ns is {value!r}; it should be a number of nanoseconds")
        if name == "error" and value is not None and not hasattr(errno, str(value)):
            raise ValueError(f"error is {value!r}; it should be the name of an error, such as EIO")
    return {name: value for name, value in faults.items() if value and name != "flip"}


class Faults:
    """The faults in force. Any thread may ask; one at a time sets.

    Args:
        seed: of the places where bits are flipped.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.now: dict[str, Any] = {}
        self.flipped: list[dict[str, Any]] = []
        self.random = random.Random(seed)
        self._counts = dict.fromkeys(("delayed", "errors", "refused", "torn", "flips"), 0)
        self._lock = threading.Lock()

    def set(self, faults: Mapping[str, Any]) -> None:
        """Have these faults and no others."""
        self.now = check(faults)

    def count(self, what: str) -> None:
        """It happened once more."""
        with self._lock:
            self._counts[what] += 1

    def counts(self) -> dict[str, int]:
        """The counters so far."""
        with self._lock:
            return dict(self._counts)

    def before(self, kind: str) -> None:
        """Called before the disk does something; waits or raises OSError as the faults want it."""
        now = self.now
        if not now:
            return
        if kind in _SLOW and now.get("latency_ns"):
            time.sleep(now["latency_ns"] / 1e9)
            self.count("delayed")
        if kind in _FAILING and now.get("error"):
            self.count("errors")
            raise OSError(getattr(errno, now["error"]), "the disk fails")
        if kind in _NEED_ROOM and now.get("full"):
            self.count("refused")
            raise OSError(errno.ENOSPC, "the disk is full")

    def kept(self, size: int) -> int:
        """How much of a write of this many bytes is stored."""
        if not self.now.get("torn") or size <= SECTOR_BYTES:
            return size
        self.count("torn")
        return self.random.randrange((size - 1) // SECTOR_BYTES + 1) * SECTOR_BYTES

    def report(self) -> dict[str, Any]:
        """The faults now set, as the answer to a request."""
        return {"faults": self.now, "counts": self.counts(), "flipped": list(self.flipped)}
