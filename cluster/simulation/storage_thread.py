"""The storage thread of a simulated node's life: group commit, in virtual time.

It takes all writes that are queued at the gate, writes them, syncs once, and reports the last id;
what came meanwhile waits for the next round. When nothing was written for the time of one sync,
the storage may rest. On a full disk writes wait, in order. A thread belongs
to one life of a node: a crash between write and sync ends it, and the disk loses what it loses.

Used by :mod:`cluster.simulation.node`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from cluster.host.effect_gate import Write
from cluster.host.room import TRY_AGAIN_S
from cluster.log.setting_aside import WhyNot
from cluster.ports import DiskError, Recovered
from cluster.simulation.disk import SimDisk
from cluster.simulation.heap import EventHeap

TRY_AGAIN_NS = int(TRY_AGAIN_S * 1_000_000_000)


class StorageLike(Protocol):
    """The interface of a node's storage; :class:`cluster.log.storage.Storage` is one."""

    def recover(self, *, why_not: WhyNot) -> Recovered:
        """Read what is durable; raises if it is damaged and cannot be repaired."""

    def write(self, effect: Write) -> None:
        """Put the effect's bytes into unsynced buffers; may raise DiskError."""

    def sync(self) -> None:
        """Make everything written durable; may raise DiskError."""

    def rest(self) -> None:
        """There is nothing to write now; may raise DiskError."""


class StorageThread:
    """One node's storage thread.

    Args:
        heap: virtual time.
        disk: says how long a sync takes.
        storage: carries writes out.
        take: the writes that wait at the gate, which are then this thread's.
        paused: whether the process is stopped: it begins nothing then.
        synced: called with the id of the last write made durable.
        failed: called with the error that ends the node.
    """

    __slots__ = (
        "_busy", "_closed", "_disk", "_failed", "_heap", "_paused", "_storage", "_synced",
        "_take", "_unwritten",
    )  # fmt: skip

    def __init__(
        self,
        heap: EventHeap,
        disk: SimDisk,
        storage: StorageLike,
        *,
        take: Callable[[], Sequence[Write]],
        paused: Callable[[], bool],
        synced: Callable[[int], None],
        failed: Callable[[DiskError], None],
    ) -> None:
        self._heap, self._disk, self._storage = heap, disk, storage
        self._take, self._paused = take, paused
        self._synced, self._failed = synced, failed
        self._busy = self._closed = False
        #: writes taken from the gate for which there was no room yet
        self._unwritten: list[Write] = []

    def close(self) -> None:
        """This life of the node is over."""
        self._closed = True

    @property
    def waiting(self) -> int:
        """Writes for which there was no room yet."""
        return len(self._unwritten)

    def reported(self) -> None:
        """What was synced is reported: a next round may begin. If nothing is synced for the time of
        one sync, the storage rests."""
        self._busy = False
        at_ns = self._heap.now_ns + self._disk.profile.sync_max_ns
        self._heap.push(at_ns, self._rest, self._disk.counts["syncs"])

    def begin(self) -> None:
        """Begin a round, if none is under way and something waits."""
        if self._busy or self._closed or self._paused():
            return
        batch = self._unwritten + list(self._take())
        if not batch:
            return
        self._busy, self._unwritten = True, []
        written = 0
        try:
            for effect in batch:
                self._storage.write(effect)
                written += 1
        except DiskError as error:
            if not error.no_room:
                self._failed(error)
                return
            self._unwritten = batch[written:]
        if written:  # those before one that waits need not wait for it
            at_ns = self._heap.now_ns + self._disk.sync_latency_ns()
            self._heap.push(at_ns, self._sync, batch[written - 1].io_id)
        else:
            self._heap.push(self._heap.now_ns + TRY_AGAIN_NS, self._try_again)

    def _rest(self, syncs: int) -> None:
        is_idle = not self._busy and syncs == self._disk.counts["syncs"]
        if self._closed or self._paused() or not is_idle:
            return
        try:
            self._storage.rest()
        except DiskError as error:
            self._failed(error)

    def _try_again(self) -> None:
        self._busy = False
        self.begin()

    def _sync(self, io_id: int) -> None:
        if self._closed:
            return
        try:
            self._storage.sync()
        except DiskError as error:
            if error.no_room:
                self._heap.push(self._heap.now_ns + TRY_AGAIN_NS, self._sync, io_id)
            else:
                self._failed(error)
            return
        self._synced(io_id)
