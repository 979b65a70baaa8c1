"""Storage: everything a node must not forget, as one FIFO of writes over the Disk port.

``write`` puts an effect's bytes into the files' unsynced buffers; ``sync`` makes every write so
far durable, in the order written. A host does many writes and one sync (group commit), then calls
the core's ``on_persisted``. The real runtime does both in its storage thread; the simulator writes
when an effect is issued and syncs when the simulated latency has passed.

Durability order. A snapshot becomes durable after every write before it and before every write
after it: from its ``write`` until the next ``sync``, later writes are held back in memory. Within
the log, hard state goes before the entries of the same write.

A snapshot from the leader replaces the log (``reset_log``): the snapshot is durable first, then the
log is reset. A crash between the two leaves a snapshot which the log does not contain; recovery
sees that and completes the reset.

The promises of a node are known without the log (``superblock``). If the log or the snapshot does
not have it any more, what cannot be used is put aside under a name that begins with ``damaged-``,
and recovery says so (``Recovered.damage``). The damage is written down first, so a crash at any
moment finds it again. Once the node has what it promised from its peers (``Append.repaired``), the
damage is forgotten and what was put aside is removed.

A disk error is final. After a failed sync the kernel may drop the dirty pages and report the next
sync as good (the "fsyncgate" of 2018), so nothing is retried: the storage is dead, every later call
raises the same error, and the node must stop.

One error is not: that there is no room for a new file (``DiskError.no_room``). Files have their
room before anything is written to them, so nothing was, and the very same call may be tried again.
A snapshot of this node's own state for which there is no room is left out: the log that it was to
replace is still there.

What breaks without it. A01: a write acknowledged before it is synced. A02: a segment whose name is
not durable. A03a: a record that is not what was written. A03b: damage cut like a torn tail. A05: a
failed sync that is ignored. A08a: a log that is removed before the snapshot is there.

Called by ``cluster.runtime`` and ``cluster.simulation``; sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from cluster.config import ClusterConfig
from cluster.log.low_water_mark import segments_below
from cluster.log.recovery import Found, nothing_kept, read_log
from cluster.log.segmented_log import SegmentedLog
from cluster.log.setting_aside import (
    WhyNot,
    end_repair,
    read_promised,
    require_repairable,
    set_aside,
)
from cluster.log.snapshot import SnapshotStore
from cluster.log.superblock import Superblock, Superblocks, newer
from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Append, Disk, DiskError, Recovered, SaveSnapshot
from cluster.wire import Entry, Snapshot

T = TypeVar("T")


class StorageCounters(msgspec.Struct, frozen=True):
    """The counters of a storage since it was opened.

    Args:
        syncs: syncs of a log segment.
        bytes: bytes of records and snapshots written.
        records: log records written.
        segments_created, segments_removed: segments.
        cuts: times a conflicting suffix of the log was replaced.
        snapshots: snapshots made durable.
        torn_bytes: bytes of torn tail cut by recovery.
        snapshots_left_out: snapshots for which there was no room.
        superblock_syncs: times the superblock was synced.
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
    superblock_syncs: int = 0


class DurableStorage(Protocol):
    """The interface of a node's storage to its host; :class:`Storage` is one, of a single log."""

    @property
    def failure(self) -> DiskError | None:
        """The disk error that ended it."""

    def recover(self, *, why_not: WhyNot) -> Recovered:
        """Read what is durable."""

    def write(self, effect: Append | SaveSnapshot) -> None:
        """Write an effect's bytes."""

    def sync(self) -> None:
        """Make every write so far durable."""

    def rest(self) -> None:
        """There is nothing to write now."""

    def counters(self) -> StorageCounters:
        """What was done so far."""


class Storage:
    """One node's durable state.

    Args:
        disk: where it lives.
        config: for ``segment_bytes``.
        salt: another one for each log that shares a disk: no file of one is valid in another.
    """

    def __init__(self, disk: Disk, config: ClusterConfig, *, salt: int = 0) -> None:
        self._salt = salt
        self._disk = disk
        self._config = config
        self._snapshots = SnapshotStore(disk, salt)
        self._superblocks = Superblocks(disk, salt)
        self._repaired = False
        self._why_not: WhyNot = lambda snapshot, entries: ""
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

    def ends_with(self, error: DiskError) -> bool:
        """Decision: a failed sync ends this storage, and with it the node. What was written may be
        gone from memory, too, and a second sync that succeeds says nothing about it."""
        return True

    def syncs_names(self) -> bool:
        """Decision: a segment's name is durable, in its directory, before it is counted on."""
        return True

    def snapshot_first(self) -> bool:
        """Decision: a snapshot is durable, under its name, before what it replaces is removed."""
        return True

    def removable(self, bases: Sequence[int], keep_from: int) -> int:
        """Decision: how many of the oldest segments may go; arguments as in ``low_water_mark``."""
        return segments_below(bases, keep_from)

    def is_as_written(self, stated: int, computed: int) -> bool:
        """Decision: whether a record is what was written: its CRC is that of its bytes."""
        return stated == computed

    def tells_of_damage(self) -> bool:
        """Decision: a log with damage is repaired from peers, rather than cut where it begins."""
        return True

    @property
    def failure(self) -> DiskError | None:
        """The disk error that ended this storage, or None while it is alive."""
        return self._failure

    def recover(self, *, why_not: WhyNot = lambda snapshot, entries: "") -> Recovered:
        """Read what is durable and open the log for writing. Call once, first.

        Args:
            why_not: asked when something promised is damaged or missing, with what is left: why
                peers cannot repair it, or "" if they may.

        Raises:
            CorruptLog: something promised is damaged or missing, and cannot be repaired: do not
                start. Nothing was changed.
            DiskError: the disk failed.
        """
        self._why_not = why_not
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

    def rest(self) -> None:
        """There is nothing to write now: the moment to make what is promised durable.

        Raises:
            DiskError: the disk failed, now or earlier: the node must stop.
        """
        self._guarded(self._superblocks.settle)

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
            superblock_syncs=self._superblocks.syncs,
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
        promised = read_promised(self._disk, self._superblocks, self._snapshots)
        damage: CorruptLog | None = None
        snapshot: Snapshot | None = None
        try:
            snapshot = self._snapshots.newest(at_least=promised.snapshot_index if promised else 0)
        except CorruptLog as error:
            if promised is None:
                raise
            damage = error
        found = read_log(self._disk, promised, self.is_as_written)
        first = found.last_index - len(found.entries) + 1
        reached = snapshot.index if snapshot is not None else 0
        if first > 1 + reached:
            unreached = CorruptLog(
                found.segments[0].name, 0, f"the log begins at {first} and no snapshot reaches it"
            )
            if promised is None:
                raise unreached
            found = nothing_kept(found, unreached)
        if promised is not None:
            found.hard_state = newer(found.hard_state, promised.hard_state)
        damage = damage or found.damage
        if not self.tells_of_damage():
            damage, promised = None, None
        require_repairable(self._why_not, damage, promised, snapshot, found.entries)
        if damage is not None and promised is not None:
            set_aside(
                self._disk,
                self._superblocks,
                self._snapshots,
                promised=promised,
                found=found,
                error=damage,
                snapshot=snapshot,
            )
            return self._recovered(found, snapshot)
        for name in found.aside:
            self._disk.remove(name)
        self._superblocks.open(promised or Superblock())
        return self._recovered(found, snapshot)

    def _recovered(self, found: Found, snapshot: Snapshot | None) -> Recovered:
        """Open the log for writing, and complete a reset that was begun."""
        log = self._log = SegmentedLog(
            self._disk,
            superblocks=self._superblocks,
            segment_bytes=self._config.segment_bytes,
            first_sequence=self._salt + 1,
            sync_names=self.syncs_names(),
            segments=found.segments,
            end=found.end,
            crc=found.crc,
            last_index=found.last_index,
            last_generation=found.last_generation,
            hard_state=found.hard_state,
            void=found.void,
        )
        self._torn_bytes = found.torn_bytes
        log.open()
        entries = found.entries
        if snapshot is not None and not _continues(snapshot, log.last_index, entries):
            log.reset(snapshot.index, snapshot.generation)
            entries = []
        return Recovered(
            hard_state=log.hard_state,
            snapshot=snapshot,
            entries=entries,
            damage=self._superblocks.now.damage,
        )

    def _write(self, effect: Append | SaveSnapshot) -> None:
        if self._unsaved is not None or self._held:
            self._held.append(effect)
        else:
            self._write_now(effect)

    def _write_now(self, effect: Append | SaveSnapshot) -> None:
        if isinstance(effect, Append):
            self._opened().append(effect.hard_state, effect.entries, effect.cut_from)
            self._repaired |= effect.repaired
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
            self._sync_log()
        if self._repaired:
            self._repaired = False
            end_repair(self._disk, self._superblocks)

    def _sync_log(self) -> None:
        try:
            self._opened().sync()
        except DiskError as error:
            if self.ends_with(error):
                raise

    def _save(self, effect: SaveSnapshot) -> None:
        log = self._opened()
        log.sync()
        steps = self._commit, self._remove_replaced
        for step in steps if self.snapshot_first() else reversed(steps):
            step(effect)
        self._committed = False

    def _commit(self, effect: SaveSnapshot) -> None:
        if not self._committed:
            self._snapshots.commit(effect.snapshot)
            self._superblocks.snapshot(effect.snapshot.index)
            self._snapshot_count += 1
        self._committed = True  # should there be no room for what follows: once is enough

    def _remove_replaced(self, effect: SaveSnapshot) -> None:
        log = self._opened()
        if effect.reset_log:
            log.reset(effect.snapshot.index, effect.snapshot.generation)
        else:
            keep_from = min(effect.keep_from, effect.snapshot.index + 1)
            log.remove_oldest(self.removable([s.first for s in log.segments], keep_from))


def _continues(snapshot: Snapshot, last_index: int, entries: list[Entry]) -> bool:
    """Whether the log goes on from the snapshot, rather than being what it was to replace."""
    if snapshot.index > last_index:
        return False
    at = snapshot.index - (last_index - len(entries) + 1)
    return at < 0 or entries[at].generation == snapshot.generation
