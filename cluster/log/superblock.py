"""Superblock: the durable promises of a node, kept apart from the log that holds the data.

Problem. A log determines its own end. If the end is lost (the last segment deleted or emptied, the
file cut at a record, an older copy restored), what is left is a perfectly valid shorter log, and
the node forgets acknowledged entries and its vote without a word. Torn by a crash, lost and corrupt
look alike.

Solution. A small record in a file of its own says how far the log was durable: the segments there
are, the last synced position with the CRC of the record that ends there, the last entry's index and
generation, the newest snapshot, and the hard state. It is kept in two files, each of which has two
slots used in turn, so one damaged file or one torn sector costs nothing. After a crash the log must
reach that position, with that CRC. If it does, what follows is checked as ever
(``write_ahead_log``) and a torn tail is cut. If it does not, the node is damaged: it keeps the
segments below the damage, and it starts as *recovering* until its peers have given it back what it
promised.

The price. A second sync for each commit would double its time. So the record is *written* after
each sync and before anything is acknowledged, which costs two small writes to the page cache, and
it is *synced* where it is free or rare: when the storage has nothing to do, with each new promise,
segment and snapshot, and after ``SYNC_EVERY`` commits. The order matters: a record is
written only when what it states is durable, so a crash alone never looks like damage.

Decidability. All damage is found if the machine kept its power between the last commit and the
damage, even if the process died. If it lost power, and the end of the log is damaged as well,
the record may be older by the commits since it was last synced: less than ``SYNC_EVERY``, and none
if the node was idle for one sync. For those commits the rules of ``write_ahead_log`` alone decide.
A vote is never among them. And nothing on a disk tells a log from an older one if both copies of
the superblock are put back with it: one new copy is enough to know.

Invariants.

- What the superblock states is durable in the log: it never claims more than a sync has covered.
- What it states never goes back in one life of a log, except that old segments leave the list
  before they are removed.
- The hard state in it is at least as new as any that a message depended on.
- A damaged log is known as damaged, durably, before anything of it is moved or written.

What breaks without it. A03b: a log cut at the first bad record loses what was acknowledged. A03c: a
node that takes the log at its word votes a second time, and elects a leader that lacks entries.

Source: Alagappan and others, "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018);
TigerBeetle's superblock and its two rings of headers and prepares. Used by ``storage``,
``segmented_log`` and ``recovery``; sans-IO over ``Disk``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from zlib import crc32

import msgspec

from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Damage, Disk
from cluster.wire import HardState

#: Commits after which the record is synced, however busy the disk is.
SYNC_EVERY = 128
NAMES = ("superblock-0", "superblock-1")
SLOT_BYTES = 2048
FILE_BYTES = 2 * SLOT_BYTES
REASON_CHARS_MAX = 400

_MAGIC = b"\xa5SB1"
_HEAD = struct.Struct("<4sII")
_encode = msgspec.msgpack.Encoder().encode


class Superblock(msgspec.Struct, frozen=True, array_like=True):
    """The promises of a node.

    Args:
        sequence: number of this record; the highest one counts.
        first_segment, last_segment: the segments that must be there; 0 if none need be.
        end: bytes of durable records in the last of them.
        crc: of the record that ends there.
        index, generation: of the last durable entry.
        snapshot_index: of the newest snapshot; 0 if there is none.
        hard_state: the newest.
        damage: what this node still has to be repaired from; None if it is sound.
    """

    sequence: int = 0
    first_segment: int = 0
    last_segment: int = 0
    end: int = 0
    crc: int = 0
    index: int = 0
    generation: int = 0
    snapshot_index: int = 0
    hard_state: HardState = HardState()
    damage: Damage | None = None


_decode = msgspec.msgpack.Decoder(Superblock).decode


def newer(one: HardState, other: HardState) -> HardState:
    """The hard state that was written later: a generation only rises, and a vote is given once."""
    return max(one, other, key=lambda each: (each.generation, each.voted_for != "", each.adopted))


def promises_more(new: HardState, old: HardState) -> bool:
    """Whether a hard state promises something that the one before it does not.

    What is known to be chosen is no promise: Multi-Paxos writes it along with entries, and after a
    crash an older one will do. It changes with each commit, and a promise costs two syncs.
    """
    promised = (new.generation, new.voted_for, new.adopted)
    return promised != (old.generation, old.voted_for, old.adopted)


def encode_slot(block: Superblock, salt: int = 0) -> bytes:
    """The bytes of a record; its CRC begins with the salt."""
    body = _encode(block)
    assert _HEAD.size + len(body) <= SLOT_BYTES, f"a superblock of {len(body)} bytes has no room"
    return _HEAD.pack(_MAGIC, len(body), crc32(body, salt)) + body


def decode_slot(data: bytes, salt: int = 0) -> Superblock | None:
    """The record in a slot, None if there is no valid one of this salt."""
    if len(data) < _HEAD.size:
        return None
    magic, length, crc = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + length]
    if magic != _MAGIC or len(body) != length or crc32(body, salt) != crc:
        return None
    try:
        return _decode(body)
    except msgspec.MsgspecError:
        return None


class Superblocks:
    """The copies on the disk, and what is promised now.

    Args:
        disk: where they are.
        salt: of this log; a copy with another is not valid.
    """

    __slots__ = ("_disk", "_salt", "_unsynced", "now", "syncs")

    def __init__(self, disk: Disk, salt: int = 0) -> None:
        self._salt = salt
        self.now = Superblock()
        #: times the copies were synced
        self.syncs = 0
        self._disk = disk
        self._unsynced = 0

    # -- decisions ---------------------------------------------------------------------------------

    def is_due(self, unsynced: int) -> bool:
        """Decision: whether so many records that are not synced are too many."""
        return unsynced >= SYNC_EVERY

    # -- at start ----------------------------------------------------------------------------------

    def read(self) -> Superblock | None:
        """The newest valid record; None if there is none.

        Raises:
            DiskError: the disk failed.
        """
        newest = max(self._valid(), key=lambda block: block.sequence, default=None)
        if newest is not None:
            self.now = newest
        return newest

    def open(self, block: Superblock) -> None:
        """Write a record to both copies, durably, making those anew that are missing or damaged."""
        self.now = msgspec.structs.replace(block, sequence=self.now.sequence + 1)
        for name in NAMES:
            if name not in self._disk.names() or len(self._disk.read(name)) != FILE_BYTES:
                self._make(name)
        self._write()
        self.settle()

    def _valid(self) -> Iterator[Superblock]:
        present = self._disk.names()
        for name in NAMES:
            data = self._disk.read(name) if name in present else b""
            for offset in (0, SLOT_BYTES):
                block = decode_slot(data[offset : offset + SLOT_BYTES], self._salt)
                if block is not None:
                    yield block

    def _make(self, name: str) -> None:
        if name in self._disk.names():
            self._disk.remove(name)
        self._disk.create(name, preallocate_bytes=FILE_BYTES)
        slots = [encode_slot(self.now, self._salt).ljust(SLOT_BYTES, b"\0"), bytes(SLOT_BYTES)]
        self._disk.append(name, b"".join(slots))
        self._disk.sync(name)
        self._disk.sync_dir()

    # -- while the log is written ------------------------------------------------------------------

    def promise(
        self,
        *,
        first_segment: int,
        last_segment: int,
        end: int,
        crc: int,
        index: int,
        generation: int,
        hard_state: HardState,
    ) -> None:
        """So far everything is durable; arguments as for :class:`Superblock`."""
        now = self.now
        assert last_segment >= now.last_segment, (
            f"segment {last_segment} is promised after {now.last_segment}"
        )
        assert hard_state.generation >= now.hard_state.generation, (
            f"generation {hard_state.generation} is promised after {now.hard_state.generation}"
        )
        self.now = Superblock(
            now.sequence + 1,
            first_segment,
            last_segment,
            end,
            crc,
            index,
            generation,
            now.snapshot_index,
            hard_state,
            now.damage,
        )
        self._write()

    def snapshot(self, index: int) -> None:
        """A snapshot is durable: from now on there must be one that reaches as far."""
        assert index >= self.now.snapshot_index, f"{index} is before {self.now.snapshot_index}"
        self._replace(snapshot_index=index)

    def repaired(self) -> None:
        """Peers have given back what was promised: the damage is history."""
        self._replace(damage=None)

    def settle(self) -> None:
        """Make what is promised durable; nothing to do if it is."""
        if self._unsynced:
            for name in NAMES:
                self._disk.sync(name)
            self._unsynced = 0
            self.syncs += 1

    def settle_if_due(self) -> None:
        """Make it durable if too many commits came since the last time."""
        if self.is_due(self._unsynced):
            self.settle()

    def _replace(self, **changes: object) -> None:
        self.now = msgspec.structs.replace(self.now, sequence=self.now.sequence + 1, **changes)
        self._write()
        self.settle()

    def _write(self) -> None:
        data, offset = encode_slot(self.now, self._salt), self.now.sequence % 2 * SLOT_BYTES
        for name in NAMES:
            self._disk.overwrite(name, offset, data)
        self._unsynced += 1


def damage_of(error: CorruptLog, *, index: int, generation: int, slot: int) -> Damage:
    """The damage that an error names, with the last entry that may have been acknowledged."""
    reason = error.reason[:REASON_CHARS_MAX]
    return Damage(error.segment, error.offset, reason, index, generation, slot)
