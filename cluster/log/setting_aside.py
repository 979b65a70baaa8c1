"""Setting aside: what storage does, at start, with a log or a snapshot that is not as promised.

The ``superblock`` says what was promised. If it cannot be read, nothing can be known, and storage
refuses. If there is damage that peers can repair, that is written down first; then what cannot be
used is renamed, and kept until the node is repaired: it may be the last copy of something.

What breaks without it. A03b: see ``superblock``.

Called by ``storage``, once, at start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from cluster.log.recovery import Found, needs_superblock
from cluster.log.segmented_log import segment_of
from cluster.log.snapshot import SnapshotStore
from cluster.log.superblock import NAMES, Superblock, Superblocks, damage_of
from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Disk
from cluster.wire import Entry, Snapshot

#: Under such names lies what could not be used, until the node is repaired.
ASIDE = "damaged-"

WhyNot: TypeAlias = Callable[[Snapshot | None, Sequence[Entry]], str]


def read_promised(
    disk: Disk, superblocks: Superblocks, snapshots: SnapshotStore
) -> Superblock | None:
    """The superblock; None for a new directory, or one of a version that had none.

    Raises:
        CorruptLog: it is lost, and there was one.
    """
    promised = superblocks.read()
    if promised is None:
        holder = needs_superblock(disk)
        if not holder and not any(map(segment_of, disk.names())):
            holder = next(iter(snapshots.names()), "")
        if not holder and NAMES[1] in disk.names():
            # A first start that crashed has no second copy before the first one is whole.
            holder = "what this directory held"
        if holder:
            why = f"no copy can be read, nor {NAMES[1]}, and {holder} was promised in it"
            raise CorruptLog(NAMES[0], 0, f"{why}: whether the log is whole cannot be known")
    return promised


def require_repairable(
    why_not: WhyNot,
    damage: CorruptLog | None,
    promised: Superblock | None,
    snapshot: Snapshot | None,
    entries: list[Entry],
) -> None:
    """Refuse to go on with damage, found now or not yet repaired, that peers cannot repair."""
    known = promised.damage if promised is not None else None
    if damage is None and known is not None:
        damage = CorruptLog(known.file, known.offset, known.reason)
    why = why_not(snapshot, entries) if damage is not None else ""
    if damage is not None and why:
        raise CorruptLog(damage.segment, damage.offset, f"{damage.reason}; {why}")


def set_aside(
    disk: Disk,
    superblocks: Superblocks,
    snapshots: SnapshotStore,
    *,
    promised: Superblock,
    found: Found,
    error: CorruptLog,
    snapshot: Snapshot | None,
) -> None:
    """Write down that there is damage, then put aside what cannot be used."""
    owed = max(found.seen, (promised.generation, promised.index))
    slot = max(found.seen_slot, promised.index)
    if promised.damage is not None:
        owed = max(owed, (promised.damage.generation, promised.damage.index))
        slot = max(slot, promised.damage.slot)
    damage = damage_of(error, index=owed[1], generation=owed[0], slot=max(slot, owed[1]))
    kept = found.segments
    superblocks.open(
        Superblock(
            first_segment=kept[0].sequence if kept else 0,
            last_segment=kept[-1].sequence if kept else 0,
            end=found.end,
            crc=found.crc,
            index=found.last_index,
            generation=found.last_generation,
            snapshot_index=snapshot.index if snapshot is not None else 0,
            hard_state=found.hard_state,
            damage=damage,
        )
    )
    unusable = [name for name in snapshots.names() if snapshot is None]
    for name in [*unusable, *found.aside]:
        disk.rename(name, ASIDE + name)
    disk.sync_dir()


def end_repair(disk: Disk, superblocks: Superblocks) -> None:
    """Peers gave back what was promised: forget the damage, then remove what was put aside."""
    superblocks.repaired()
    for name in disk.names():
        if name.startswith(ASIDE):
            disk.remove(name)
    disk.sync_dir()
