"""Segmented Log: the write-ahead log as a row of files of bounded size.

Problem. One file that only grows can neither be trimmed from its front nor preallocated.

Solution. Write to the newest of many segments, begin another one when it is full, and remove old
ones whole.

Invariants.

- Segments are numbered without gaps. Each begins with a record that states its base index (the
  next index at that time), where the segment before it ended and its last CRC, and the hard state
  of the moment: so the oldest segments can go and nothing is lost with them.
- A durable write is promised in the superblock before it is acknowledged, and a segment leaves its
  list before it is removed.
- A segment is synced whole before the next is created, and the next one's name is durable before
  anything in it is acknowledged.
- Everything a segment will hold has its room before the segment is begun, so a full disk is met
  there and nowhere else, and nothing was written then: the same append may be tried again.
- The log is cut by writing: entries at or below an index already there replace it and all above;
  where nothing takes their place, a record says where the log was cut. The last write for an index
  counts, so a crash leaves either the old suffix or the new one. A cut below the base of the newest
  segment begins another one, so that bases still locate entries.

What breaks without it. A02: without the sync of the directory, a power cut after a roll loses the
whole new segment, and every entry acknowledged in it. A07: a segment is removed that still holds
the first entry wanted, and after a restart the snapshot does not reach the log.

Names are ``wal-<sequence>-<base index>.log``, both in 16 hexadecimal digits.

Source: Joshi, *Patterns of Distributed Systems*, "Segmented Log"; the layout follows etcd's WAL in
spirit (preallocation, chained CRC). Called by ``storage`` and ``recovery``; sans-IO over ``Disk``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from cluster.log.group_files import within_group
from cluster.log.superblock import Superblocks, promises_more
from cluster.log.write_ahead_log import (
    CUT,
    ENTRIES,
    HARD_STATE,
    HEADER_BYTES,
    SEGMENT,
    TRAILER_BYTES,
    encode_record,
)
from cluster.ports import Disk
from cluster.wire import Entry, HardState

_NAME = re.compile(r"wal-([0-9a-f]{16})-([0-9a-f]{16})\.log")
#: More than a segment's header and the frame of one record take.
_HEADROOM_BYTES = 1024
_encode = msgspec.msgpack.Encoder().encode


class SegmentHeader(msgspec.Struct, frozen=True, array_like=True):
    """Payload of a segment's first record.

    Args:
        base: index of the first entry that belongs in this segment.
        previous_end: bytes of records in the segment before it.
        reset: True if all entries of earlier segments are void: a snapshot replaced them.
        hard_state: the hard state when the segment was begun.
        promised: whether there is a superblock; logs of earlier versions had none.
    """

    base: int
    previous_end: int
    reset: bool
    hard_state: HardState
    promised: bool = False


class Segment(msgspec.Struct, frozen=True):
    """A segment file.

    Args:
        sequence: its number.
        base: its base index, as in its name and header.
        first: index of the first entry it holds: the base, unless a crash fell between beginning
            the segment and the cut of the log it was begun for.
    """

    sequence: int
    base: int
    first: int

    @property
    def name(self) -> str:
        """Its file name."""
        return f"wal-{self.sequence:016x}-{self.base:016x}.log"


def segment_of(name: str) -> Segment | None:
    """The segment a file name stands for, or None if it is no segment's."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    base = int(match[2], 16)
    return Segment(int(match[1], 16), base, base)


def log_syncs(synced: Mapping[str, int]) -> int:
    """How many of the syncs of files, by name, were of segments, whatever their group."""
    counts = ((segment_of(within_group(name)), count) for name, count in synced.items())
    return sum(count for segment, count in counts if segment is not None)


class LogCounters(msgspec.Struct):
    """Counters since the start: syncs of a segment, bytes and records appended, and so on."""

    syncs: int = 0
    bytes: int = 0
    records: int = 0
    segments_created: int = 0
    segments_removed: int = 0
    cuts: int = 0


class SegmentedLog:
    """The log being written. Only :class:`cluster.log.storage.Storage` should create one.

    Args:
        disk: where the segments are.
        superblocks: where what is durable is promised.
        segment_bytes: size at which a segment is full.
        first_sequence: number of the first segment of a log that has none.
        sync_names: whether a new segment's name is durable before it is counted on.
        segments: the existing ones, oldest first; empty for a new log.
        end: bytes of records in the newest one.
        crc: CRC of the last record.
        last_index, last_generation: of the last entry; after a cut that nothing followed, a
            generation that is not below it.
        hard_state: the newest hard state in the log.
        void: how many of the oldest segments a reset made void, to be removed.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        superblocks: Superblocks,
        segment_bytes: int,
        first_sequence: int = 1,
        sync_names: bool = True,
        segments: list[Segment] | None = None,
        end: int = 0,
        crc: int = 0,
        last_index: int = 0,
        last_generation: int = 0,
        hard_state: HardState | None = None,
        void: int = 0,
    ) -> None:
        self.counters = LogCounters()
        self.segments = segments or []
        self.last_index = last_index
        self.last_generation = last_generation
        self.hard_state = hard_state or HardState()
        self._disk = disk
        self._superblocks = superblocks
        self._segment_bytes = segment_bytes
        self._first_sequence = first_sequence
        self._sync_names = sync_names
        self._end = end
        self._begun = 0
        self._durable = 0
        self._crc = crc
        self._void = void

    def open(self) -> None:
        """Make what recovery found durable, or begin the first segment of a new log.

        What was read may so far exist only in the operating system's memory.
        """
        if self.segments:
            self._disk.truncate(self.segments[-1].name, self._end)
            self._sync()
            self._disk.sync_dir()
            self._promise()
            self._superblocks.settle()
            self.remove_oldest(self._void)
        else:
            self.roll(base=self.last_index + 1)

    def append(
        self, hard_state: HardState | None, entries: tuple[Entry, ...], cut_from: int = 0
    ) -> None:
        """Write a hard state, then a cut, then entries; nothing is durable before :meth:`sync`.

        Raises:
            ValueError: the entries would leave a gap in the log, or the cut is beyond its end.
            DiskError: the disk failed; with ``no_room`` the same append may be tried again.
        """
        if hard_state is not None:
            self.hard_state = hard_state
            self._write(HARD_STATE, self.last_index, _encode(hard_state))
        if cut_from:
            self._cut(cut_from)
        if entries:
            self._append_entries(entries)

    def _cut(self, index: int) -> None:
        if not 0 < index <= self.last_index + 1:
            raise ValueError(f"a cut at {index} of a log that ends at {self.last_index}")
        if index < self.segments[-1].first:
            self.roll(base=index)
        self._write(CUT, index, b"")
        self.counters.cuts += index <= self.last_index
        # The generation stays: one that is not below that of the entry which is the last now.
        self.last_index = index - 1

    def _append_entries(self, entries: tuple[Entry, ...]) -> None:
        first, last = entries[0].index, entries[-1].index
        if not 0 < first <= self.last_index + 1 or last - first + 1 != len(entries):
            raise ValueError(
                f"entries {first} to {last} ({len(entries)} of them) do not continue a log "
                f"that ends at {self.last_index}"
            )
        payload = _encode(entries)
        if first < self.segments[-1].first:
            self.roll(base=first, room_bytes=len(payload))
        self._write(ENTRIES, first, payload)
        if first <= self.last_index:
            self.counters.cuts += 1
        self.last_index, self.last_generation = last, entries[-1].generation

    def sync(self) -> None:
        """Make everything appended durable, then promise it."""
        if self._durable < self._end:
            self._sync()
            self._promise()

    def reset(self, last_index: int, last_generation: int) -> None:
        """Void every entry, durably: the log goes on after the given one, which a snapshot has."""
        self.roll(base=last_index + 1, reset=True)
        self.last_index, self.last_generation = last_index, last_generation
        self._promise()
        self.remove_oldest(len(self.segments) - 1)

    def roll(self, *, base: int, reset: bool = False, room_bytes: int = 0) -> None:
        """Sync the newest segment and begin another, durably, name and header.

        Args:
            base: index of the first entry it will hold.
            reset: whether all earlier entries are void.
            room_bytes: payload that it must have room for, if that is more than a segment.
        """
        self.sync()
        sequence = self.segments[-1].sequence + 1 if self.segments else self._first_sequence
        segment = Segment(sequence, base, base)
        header = SegmentHeader(base, self._end, reset, self.hard_state, promised=True)
        room_bytes += _HEADROOM_BYTES
        self._disk.create(segment.name, preallocate_bytes=max(self._segment_bytes, room_bytes))
        self.segments.append(segment)
        self._end = self._durable = 0
        self._write_here(SEGMENT, base, _encode(header))
        self._begun = self._end
        self._sync()
        if self._sync_names:
            self._disk.sync_dir()
        self._promise()
        self._superblocks.settle()
        self.counters.segments_created += 1

    def remove_oldest(self, count: int) -> None:
        """Remove so many of the oldest segments, in order, so that a crash leaves no gap."""
        if count:
            self._promise(first=count)
            self._superblocks.settle()
        for segment in self.segments[:count]:
            self._disk.remove(segment.name)
            # One at a time: two removals of one directory sync may become durable in any order.
            self._disk.sync_dir()
        del self.segments[:count]
        self.counters.segments_removed += count

    def _write(self, kind: int, index: int, payload: bytes) -> None:
        """Write a record, in a new segment if it does not fit in this one but may in that."""
        room = self._segment_bytes - self._end - len(payload) - HEADER_BYTES - TRAILER_BYTES
        if room < 0 and self._end > self._begun:
            base = index if kind in (ENTRIES, CUT) else self.last_index + 1
            self.roll(base=base, room_bytes=len(payload))
        self._write_here(kind, index, payload)

    def _write_here(self, kind: int, index: int, payload: bytes) -> None:
        segment = self.segments[-1]
        record, self._crc = encode_record(
            kind,
            payload,
            index=index,
            durable=self._durable,
            previous=self._crc,
            sequence=segment.sequence,
            offset=self._end,
        )
        self._disk.append(segment.name, record)
        self._end += len(record)
        self.counters.bytes += len(record)
        self.counters.records += 1

    def _sync(self) -> None:
        self._disk.sync(self.segments[-1].name)
        self._durable = self._end
        self.counters.syncs += 1

    def _promise(self, *, first: int = 0) -> None:
        """Write down what is durable; a new promise, or too long a wait, makes that durable."""
        superblocks = self._superblocks
        is_promise = promises_more(self.hard_state, superblocks.now.hard_state)
        superblocks.promise(
            first_segment=self.segments[first].sequence,
            last_segment=self.segments[-1].sequence,
            end=self._durable,
            crc=self._crc,
            index=self.last_index,
            generation=self.last_generation,
            hard_state=self.hard_state,
        )
        if is_promise:
            superblocks.settle()
        else:
            superblocks.settle_if_due()
