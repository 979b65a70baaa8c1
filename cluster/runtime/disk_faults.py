"""Faults of the real disk, for ``--enable-chaos``: slow, failing, full, torn, rotten.

Each is honest: the disk layer really sleeps, raises, or leaves the bytes, and counts that it did,
so that a run can show that the fault bit. None can be set without the chaos endpoint.

- ``latency_ns``, ``jitter_ns``: every sync takes so much longer.
- ``error``: every operation that writes fails with this errno name. The node must stop.
- ``full``: there is no room for a new file, nor for a file to grow, and it is ENOSPC. What a file
  was given when it was created it has. The node goes on, and takes no entries.
- ``torn``: part of what is unsynced reaches the disk early, cut at a sector, so that a kill leaves
  a torn tail instead of a clean one.
- ``flip``: one durable bit is flipped, once, now. Not near the end of a file: damage there cannot
  be distinguished from a torn write (see ``cluster.log.write_ahead_log``).

Set from the event loop's thread, read by the storage thread: one reference is swapped.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from cluster.log.group_files import within_group
from cluster.ports import DiskError

SECTOR_BYTES = 512
LATENCY_NS_MAX = 60_000_000_000

_FLIPPABLE = ("wal-", "snapshot-")


def _flippable(name: str) -> bool:
    return within_group(name).startswith(_FLIPPABLE)


class DiskFaultSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The faults injected now; see the module for each field."""

    latency_ns: int = 0
    jitter_ns: int = 0
    error: str | None = None
    full: bool = False
    torn: bool = False
    flip: bool = False


def parse_disk_faults(document: Mapping[str, Any]) -> DiskFaultSettings:
    """Settings from a chaos request.

    Raises:
        ValueError: a field is unknown, of the wrong type or out of range; the message says which.
    """
    try:
        settings = msgspec.convert(dict(document), DiskFaultSettings)
    except msgspec.ValidationError as error:
        fields = ", ".join(DiskFaultSettings.__struct_fields__)
        raise ValueError(f"disk faults: {error}; the fields are {fields}") from None
    for name, value in (("latency_ns", settings.latency_ns), ("jitter_ns", settings.jitter_ns)):
        if not 0 <= value <= LATENCY_NS_MAX:
            raise ValueError(f"{name} is {value}, and must be from 0 to {LATENCY_NS_MAX}")
    if settings.error is not None and settings.error not in errno.errorcode.values():
        raise ValueError(f"error is {settings.error!r}, which is no errno name such as 'EIO'")
    return settings


class DiskFaults:
    """The faults of one disk, and how often each bit."""

    def __init__(self) -> None:
        self.settings = DiskFaultSettings()
        self.counts = {"slowed": 0, "errors": 0, "full": 0, "torn": 0, "flipped": 0}
        # Damage is drawn from the machine's entropy: a real run is not replayed byte by byte.
        self._random = random.SystemRandom()

    @property
    def torn(self) -> bool:
        """Whether unsynced bytes leak to the disk early."""
        return self.settings.torn

    def before_growing(self, operation: str, name: str) -> None:
        """Called before an operation that needs space."""
        if self.settings.full:
            self.counts["full"] += 1
            raise DiskError("ENOSPC", operation, name)
        self.before_writing(operation, name)

    def felt_full(self) -> None:
        """Something was not tried, since there is no room: the fault bit."""
        if self.settings.full:
            self.counts["full"] += 1

    def before_writing(self, operation: str, name: str) -> None:
        """Called before any operation that changes something."""
        if self.settings.error is not None:
            self.counts["errors"] += 1
            raise DiskError(self.settings.error, operation, name)

    def before_sync(self, name: str) -> None:
        """Called before a sync: sleeps, or fails."""
        settings = self.settings
        if settings.latency_ns or settings.jitter_ns:
            self.counts["slowed"] += 1
            wait_ns = settings.latency_ns + self._random.randrange(settings.jitter_ns + 1)
            time.sleep(wait_ns / 1e9)
        self.before_writing("sync", name)

    def leaked_bytes(self, offset: int, length: int) -> int:
        """How many of ``length`` unsynced bytes at ``offset`` reach the disk early."""
        end = offset + self._random.randrange(length + 1)
        end -= end % SECTOR_BYTES if self._random.random() < 0.7 else 0
        if end <= offset:
            return 0
        self.counts["torn"] += 1
        return end - offset

    def choose_flip(
        self, sizes: Mapping[str, int], *, spare_bytes: int
    ) -> tuple[str, int, int] | None:
        """File, byte and mask of a bit to flip, or None if no file is long enough."""
        names = [n for n, size in sizes.items() if _flippable(n) and size > spare_bytes]
        if not names:
            return None
        self.counts["flipped"] += 1
        name = self._random.choice(names)
        return (
            name,
            self._random.randrange(sizes[name] - spare_bytes),
            1 << self._random.randrange(8),
        )
