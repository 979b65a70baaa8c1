"""Storage: everything a node must not forget, as one FIFO of writes over the Disk port.

``write`` puts an effect's bytes into the files' unsynced buffers; ``sync`` makes every write so
far durable, in the order written. A host does many writes and one sync (group commit), then tells
the core ``on_persisted``. The real runtime does both in its storage thread; the simulator writes
when an effect is issued and syncs when the simulated latency has passed.

Durability order. A snapshot becomes durable after every write before it and before every write
after it: from its ``write`` until the next ``sync``, later writes are held back in memory. Within
the log, hard state goes before the entries of the same write.

A snapshot from the leader replaces the log (``reset_log``): the snapshot is durable first, then the
log is reset. A crash between the two leaves a snapshot which the log does not contain; recovery
sees that and completes the reset.

A disk error is final. After a failed sync the kernel may drop the dirty pages and report the next
sync as good (the "fsyncgate" of 2018), so nothing is retried: the storage is dead, every later call
raises the same error, and the node must stop.

One error is not: that there is no room for a new file (``DiskError.no_room``). Files have their
room before anything is written to them, so nothing was, and the very same call may be tried again.
A snapshot of this node's own state for which there is no room is left out: the log that it was to
replace is still there.

Decisions, overridden by ablations: :meth:`Storage.syncs_before_ack`.

Called by ``cluster.runtime`` and ``cluster.simulation``; sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from cluster.config import ClusterConfig
from cluster.log.recovery import recover_log
from cluster.log.segmented_log import SegmentedLog
from cluster.log.snapshot import SnapshotStore
from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Append, Disk, DiskError, Recovered, SaveSnapshot
from cluster.wire import Entry, Snapshot

T = TypeVar("T")


class StorageCounters(msgspec.Struct, frozen=True):
    """What storage did since it was opened.

    Args:
        syncs: syncs of a log segment.
        bytes: bytes of records and snapshots written.
        records: log records written.
        segments_created, segments_removed: segments.
        cuts: times a conflicting suffix of the log was replaced.
        snapshots: snapshots made durable.
        torn_bytes: bytes of torn tail cut by recovery.
        snapshots_left_out: snapshots for which there was no room.
    """

    syncs: int
    bytes: int
    records: int
    segments_created: int
    segments_removed: int
    cuts: int
    snapshots: int
    torn_bytes: int
    snapshots_left_out: int


class Storage:
    """One node's durable state.

    Args:
        disk: where it lives.
        config: for ``segment_bytes``.
    """

    def __init__(self, disk: Disk, config: ClusterConfig) -> None:
        self._disk = disk
        self._config = config
        self._snapshots = SnapshotStore(disk)
        self._log: SegmentedLog | None = None
        self._unsaved: SaveSnapshot | None = None
        self._held: list[Append | SaveSnapshot] = []
        self._failure: DiskError | None = None
        self._committed = False
        self._snapshot_count = 0
        self._snapshots_left_out = 0
        self._snapshot_bytes = 0
        self._torn_bytes = 0

    def syncs_before_ack(self) -> bool:
        """Decision: a write is durable before it is acknowledged."""
        return True

    @property
    def failure(self) -> DiskError | None:
        """The disk error that ended this storage, or None while it is alive."""
        return self._failure

    def recover(self) -> Recovered:
        """Read what is durable and open the log for writing. Call once, first.

        Raises:
            CorruptLog: something acknowledged is damaged or missing; do not start.
            DiskError: the disk failed.
        """
        return self._guarded(self._recover)

    def write(self, effect: Append | SaveSnapshot) -> None:
        """Write an effect's bytes, durable at the next :meth:`sync`.

        Raises:
            DiskError: the disk failed, now or earlier: the node must stop; or, with ``no_room``,
                the effect was not written, and may be tried again.
            ValueError: the entries do not continue the log: a bug of the core.
        """
        self._guarded(self._write, effect)

    def sync(self) -> None:
        """Make every write so far durable, in order.

        Raises:
            DiskError: the disk failed, now or earlier: the node must stop; or, with ``no_room``,
                not everything is durable yet, and it may be tried again.
        """
        self._guarded(self._sync)

    def counters(self) -> StorageCounters:
        """What was done so far."""
        log = self._opened().counters
        return StorageCounters(
            syncs=log.syncs,
            bytes=log.bytes + self._snapshot_bytes,
            records=log.records,
            segments_created=log.segments_created,
            segments_removed=log.segments_removed,
            cuts=log.cuts,
            snapshots=self._snapshot_count,
            torn_bytes=self._torn_bytes,
            snapshots_left_out=self._snapshots_left_out,
        )

    def _guarded(self, action: Callable[..., T], *args: Append | SaveSnapshot) -> T:
        if self._failure is not None:
            raise self._failure
        try:
            return action(*args)
        except DiskError as error:
            if not error.no_room:
                self._failure = error
            raise

    def _opened(self) -> SegmentedLog:
        if self._log is None:
            raise RuntimeError("Storage.recover() must be called first")
        return self._log

    def _recover(self) -> Recovered:
        snapshot = self._snapshots.newest()
        log, entries, self._torn_bytes = recover_log(
            self._disk, segment_bytes=self._config.segment_bytes
        )
        log.open()
        self._log = log
        if snapshot is not None and not _continues(snapshot, log.last_index, entries):
            log.reset(snapshot.index)
            entries = []
        first = log.last_index - len(entries) + 1
        if first > 1 + (snapshot.index if snapshot is not None else 0):
            raise CorruptLog(
                log.segments[0].name, 0, f"the log begins at {first} and no snapshot reaches it"
            )
        return Recovered(hard_state=log.hard_state, snapshot=snapshot, entries=entries)

    def _write(self, effect: Append | SaveSnapshot) -> None:
        if self._unsaved is not None or self._held:
            self._held.append(effect)
        else:
            self._write_now(effect)

    def _write_now(self, effect: Append | SaveSnapshot) -> None:
        if isinstance(effect, Append):
            self._opened().append(effect.hard_state, effect.entries, effect.cut_from)
            return
        try:
            self._snapshot_bytes += self._snapshots.write(effect.snapshot)
        except DiskError as error:
            if effect.reset_log or not error.no_room:
                raise
            self._snapshots_left_out += 1
        else:
            self._unsaved = effect

    def _sync(self) -> None:
        while self._unsaved is not None or self._held:
            if self._unsaved is not None:
                self._save(self._unsaved)
                self._unsaved = None
            while self._held and self._unsaved is None:
                self._write_now(self._held[0])
                del self._held[0]
        if self.syncs_before_ack():
            self._opened().sync()

    def _save(self, effect: SaveSnapshot) -> None:
        log = self._opened()
        log.sync()
        if not self._committed:
            self._snapshots.commit(effect.snapshot)
            self._snapshot_count += 1
        self._committed = True  # should there be no room for what follows: once is enough
        if effect.reset_log:
            log.reset(effect.snapshot.index)
        else:
            log.remove_below(min(effect.keep_from, effect.snapshot.index + 1))
        self._committed = False


def _continues(snapshot: Snapshot, last_index: int, entries: list[Entry]) -> bool:
    """Whether the log goes on from the snapshot, rather than being what it was to replace."""
    if snapshot.index > last_index:
        return False
    at = snapshot.index - (last_index - len(entries) + 1)
    return at < 0 or entries[at].generation == snapshot.generation
