"""Group storage: the logs of many replicated groups on one disk.

Problem. A node that is a member of many groups must not forget anything of any of them. A directory
and a thread for each would be the simplest, and would make a node's writes depend on how many
groups it has; and each host of a core would have to know of groups.

Solution. Each group has a storage of its own (``cluster.log.storage``: segments, snapshots,
superblock), whose files have the group's name in front, on the one disk of the node. This module
has the interface of one storage: writes name their group (``Append.group``), their ids are one
sequence per node, and one sync makes everything durable that was written in any group. Groups are
found again by the names of their files. A group that is written to for the first time begins then.

Durability order. Within a group it is that of its storage. Between groups nothing is promised but
what the ids say: when a write is reported durable, all earlier ones are, of every group.

Damage. Each group checks its own files, and names them as they are called on the disk. A damaged
group is repaired from its peers or keeps the node from starting, as a damaged node does; the other
groups of a node that is repaired are sound. An error of the disk is the end of all groups.

A file that ends up under the name of another group's is damage in both: the records of a group's
log, its snapshots and its superblock are valid with the group's salt only. Without it, the log of
one group would be a whole log of another, with votes for strangers.

Invariants. No file belongs to two groups. A write goes to the files of its group alone. What was
written in a group since its last sync is synced before anything is reported.

What breaks without it. Two groups that share a log file cut each other's entries. A sync that
leaves a group out acknowledges what a crash takes away (A01, for that group).

Source: Joshi, "Write-Ahead Log", "Segmented Log"; CockroachDB and TiKV for many small Raft groups
over the storage of one node. Used by ``cluster.runtime`` and ``cluster.simulation``; sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from cluster.config import ClusterConfig
from cluster.log.group_files import GROUP_MARK, GroupDisk, group_of, salt_of
from cluster.log.setting_aside import WhyNot
from cluster.log.storage import Storage, StorageCounters
from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Append, Disk, DiskError, Recovered, SaveSnapshot
from cluster.wire import Entry, HardState, Snapshot


class GroupStorage:
    """One node's durable state, of many groups.

    Args:
        disk: where it lives.
        config: for ``segment_bytes``.
        make: the class of one group's storage.
    """

    def __init__(self, disk: Disk, config: ClusterConfig, *, make: type[Storage] = Storage) -> None:
        self._disk, self._config, self._make = disk, config, make
        self._why_not: WhyNot = lambda snapshot, entries: ""
        self._groups: dict[str, Storage] = {}
        #: groups with writes since their last sync
        self._unsynced: dict[str, None] = {}
        self._failure: DiskError | None = None

    # -- decisions ---------------------------------------------------------------------------------

    def to_sync(self, unsynced: Sequence[str]) -> Sequence[str]:
        """Decision: the groups to be synced before a write is reported durable: all with writes."""
        return unsynced

    # -- the interface of a storage ----------------------------------------------------------------

    @property
    def failure(self) -> DiskError | None:
        """The disk error that ended this storage, or None while it is alive."""
        return self._failure

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that have files, sorted."""
        return tuple(sorted(self._groups))

    def recover(self, *, why_not: WhyNot = lambda snapshot, entries: "") -> Recovered:
        """Read what is durable of every group that has files. Call once, first.

        Args:
            why_not: asked about each damaged group; see :meth:`Storage.recover`.

        Raises:
            CorruptLog: something promised is damaged or missing in some group, and cannot be
                repaired: do not start.
            DiskError: the disk failed.
        """
        self._why_not = why_not
        names = sorted({group_of(file) for file in self._disk.names()} - {""})
        found = {name: self._open(name) for name in names}
        damage = next((each.damage for each in found.values() if each.damage is not None), None)
        return Recovered(HardState(), None, [], damage=damage, groups=found)

    def write(self, effect: Append | SaveSnapshot) -> None:
        """Write an effect's bytes to its group, durable at the next :meth:`sync`.

        Raises:
            DiskError: the disk failed; or, with ``no_room``, it may be tried again.
            ValueError: the entries do not continue the log, or no group is named: a bug of the
                core.
        """
        self._guarded(lambda: self._write(effect))

    def sync(self) -> None:
        """Make every write so far durable, in order.

        Raises:
            DiskError: the disk failed; or, with ``no_room``, it may be tried again.
        """
        self._guarded(self._sync)

    def rest(self) -> None:
        """There is nothing to write now: the moment to make what is promised durable.

        Raises:
            DiskError: the disk failed.
        """
        self._guarded(self._rest)

    def counters(self) -> StorageCounters:
        """The counters so far, over all groups."""
        counted = [msgspec.structs.astuple(each.counters()) for each in self._groups.values()]
        return (
            StorageCounters(*(sum(column) for column in zip(*counted, strict=True)))
            if (counted)
            else StorageCounters(0, 0, 0, 0, 0, 0, 0, 0, 0)
        )

    # -- inside ------------------------------------------------------------------------------------

    def _open(self, group: str) -> Recovered:
        storage = self._make(GroupDisk(self._disk, group), self._config, salt=salt_of(group))
        try:
            recovered = storage.recover(why_not=_named(self._why_not, group))
        except CorruptLog as error:
            file = group + GROUP_MARK + error.segment
            raise CorruptLog(file, error.offset, error.reason) from None
        if recovered.damage is not None:
            file = group + GROUP_MARK + recovered.damage.file
            recovered.damage = msgspec.structs.replace(recovered.damage, file=file)
        self._groups[group] = storage
        return recovered

    def _write(self, effect: Append | SaveSnapshot) -> None:
        storage = self._groups.get(effect.group)
        if storage is None:
            self._open(effect.group)
            storage = self._groups[effect.group]
        self._unsynced[effect.group] = None
        storage.write(effect)

    def _sync(self) -> None:
        for group in self.to_sync(tuple(self._unsynced)):
            self._groups[group].sync()
            del self._unsynced[group]

    def _rest(self) -> None:
        for storage in self._groups.values():
            storage.rest()

    def _guarded(self, action: Callable[[], None]) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            action()
        except DiskError as error:
            if not error.no_room:
                self._failure = error
            raise


def _named(why_not: WhyNot, group: str) -> WhyNot:
    """The same question, whose answer says of which group."""

    def why(snapshot: Snapshot | None, entries: Sequence[Entry]) -> str:
        said = why_not(snapshot, entries)
        return f"{said} (group {group})" if said else ""

    return why
