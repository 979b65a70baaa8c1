"""Recovery: reading the segments after a crash.

Pure decisions over bytes: the chain must hold within and across segments, every segment but the
last must end exactly where its successor says, indexes must have no gap, and only a torn tail of
the last segment may be cut (see ``write_ahead_log`` for what is decidable and why). A last segment
whose header was never written completely holds nothing that was acknowledged. And the log must
reach what the ``superblock`` promises: that record, at that place.

If anything of it does not hold, the segments before the damage are kept, as far as they are whole.
All the others are put aside: they may be the last copy of something.

Called by ``storage`` once, at start.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from cluster.log.segmented_log import Segment, SegmentHeader, segment_of
from cluster.log.superblock import Superblock, newer
from cluster.log.write_ahead_log import (
    CUT,
    ENTRIES,
    HARD_STATE,
    SEGMENT,
    CorruptLog,
    Matches,
    Record,
    Scan,
    every_record,
    require_torn_tail,
    scan,
)
from cluster.ports import Disk
from cluster.wire import Entry, HardState

T = TypeVar("T")

_HEADER = msgspec.msgpack.Decoder(SegmentHeader)
_HARD_STATE = msgspec.msgpack.Decoder(HardState)
_ENTRIES = msgspec.msgpack.Decoder(list[Entry])


class _Reader:
    """Gathers the log's content, record by record, in the order written.

    Args:
        promised: what to look for on the way; None to look for nothing.
        matches: how a record's CRC is compared.
    """

    def __init__(self, promised: Superblock | None, matches: Matches) -> None:
        self._promised, self.matches = promised, matches
        #: CRC of the record that ends at the promised position; None if no record does
        self._promised_crc: int | None = None
        #: (segment, where its records end) that the promise is about
        self._promised_segment: tuple[Segment, int] | None = None
        self.entries: list[Entry] = []
        self.last_index = 0
        self.hard_state = HardState()
        self.crc = 0
        self.end = 0
        self.segments: list[Segment] = []
        self.void = 0

    def take_sealed(self, disk: Disk, segment: Segment) -> None:
        """Take over a segment that is not the last: it was synced whole."""
        data = disk.read(segment.name)
        found = scan(data, segment.sequence, self.matches)
        if not found.records or data[found.end :].strip(b"\0"):
            fault = found.fault or "zeros where a record must be"
            raise CorruptLog(segment.name, found.end, f"{fault}, in a segment that is not the last")
        self.take_segment(segment, found)

    def require_promised(self, promised: Superblock, found: list[Segment]) -> None:
        """The log must begin, and reach, where the superblock says.

        Args:
            promised: what it says.
            found: the segments there are, readable or not.

        Raises:
            CorruptLog: it does not; the file and offset are where what was promised is missing.
        """
        if not promised.last_segment:
            return
        first = self.segments[0].sequence if self.segments else promised.first_segment
        if first > promised.first_segment:
            name = f"wal-{promised.first_segment:016x}"
            raise CorruptLog(name, 0, "the superblock promises this segment, and it is missing")
        if self._promised_segment is None:
            names = [each.name for each in found if each.sequence == promised.last_segment]
            name = names[0] if names else f"wal-{promised.last_segment:016x}"
            what = "holds no record" if names else "is missing"
            why = f"{promised.end} bytes of this segment were promised, and it {what}"
            raise CorruptLog(name, 0, why)
        segment, end = self._promised_segment
        if self._promised_crc is None:
            at = min(end, promised.end)
            why = f"valid records end at {end}, and {promised.end} bytes of them were promised"
            raise CorruptLog(segment.name, at, why)
        if self._promised_crc != promised.crc:
            why = "the record that ends here is not the one that was promised"
            raise CorruptLog(segment.name, promised.end, why)

    def _look_for_promised(self, segment: Segment, found: Scan) -> None:
        promised = self._promised
        if promised is None or segment.sequence != promised.last_segment:
            return
        self._promised_segment = segment, found.end
        ends = {record.end: record.crc for record in found.records}
        self._promised_crc = ends.get(promised.end)

    def take_segment(self, segment: Segment, found: Scan) -> None:
        """Take over all records of one segment; the first is its header."""
        self._take_header(segment, found.records[0])
        first = None
        for record in found.records[1:]:
            if record.kind == HARD_STATE:
                self.hard_state = _decoded(segment, record, _HARD_STATE)
            elif record.kind == ENTRIES:
                self._take_entries(segment, record)
                first = record.index if first is None else min(first, record.index)
            elif record.kind == CUT:
                self._take_cut(segment, record)
                first = record.index if first is None else min(first, record.index)
            else:
                raise CorruptLog(segment.name, record.offset, "a second segment header")
        self._look_for_promised(segment, found)
        first = self.last_index + 1 if first is None else first
        self.segments.append(Segment(segment.sequence, segment.base, first))
        self.crc = found.records[-1].crc
        self.end = found.end

    def _take_header(self, segment: Segment, record: Record) -> None:
        if record.kind != SEGMENT:
            raise CorruptLog(segment.name, 0, "does not begin with a segment header")
        header = _decoded(segment, record, _HEADER)
        if header.base != segment.base:
            raise CorruptLog(segment.name, 0, f"header states base index {header.base}")
        if self.segments:
            self._require_successor(segment, record, header)
        if header.reset:
            self.void = len(self.segments)
        if header.reset or not self.segments:
            self.entries.clear()
            self.last_index = header.base - 1
        elif header.base > self.last_index + 1 and not self.entries:
            # As in _take_entries: nothing is left of what was before.
            self.last_index = header.base - 1
        elif header.base > self.last_index + 1:
            missing = f"entries {self.last_index + 1} to {header.base - 1} are missing"
            raise CorruptLog(segment.name, 0, missing)
        self.hard_state = header.hard_state

    def _require_successor(self, segment: Segment, record: Record, header: SegmentHeader) -> None:
        before = self.segments[-1]
        if segment.sequence != before.sequence + 1:
            missing = f"segment {before.sequence + 1} before it is missing"
            raise CorruptLog(segment.name, 0, missing)
        if header.previous_end != self.end or record.previous != self.crc:
            stated = f"the next segment states that they end at {header.previous_end}"
            raise CorruptLog(before.name, self.end, f"valid records end here, but {stated}")

    def _take_entries(self, segment: Segment, record: Record) -> None:
        entries = _decoded(segment, record, _ENTRIES)
        if not self.entries:
            # The oldest segment left may have been begun for a cut that never came; what went on
            # below its first entry was removed. Storage checks that a snapshot reaches that entry.
            self.last_index = max(self.last_index, record.index - 1)
        if not entries or record.index > self.last_index + 1 or entries[0].index != record.index:
            reason = f"entries from {record.index} do not continue a log up to {self.last_index}"
            raise CorruptLog(segment.name, record.offset, reason)
        self._cut(record.index)
        self.entries.extend(entries)
        self.last_index = record.index + len(entries) - 1

    def _take_cut(self, segment: Segment, record: Record) -> None:
        if not self.entries:
            self.last_index = max(self.last_index, record.index - 1)  # as in _take_entries
        if record.index > self.last_index + 1:
            reason = f"a cut at {record.index} of a log up to {self.last_index}"
            raise CorruptLog(segment.name, record.offset, reason)
        self._cut(record.index)
        self.last_index = record.index - 1

    def _cut(self, index: int) -> None:
        """Drop the entries from an index on. It may be below what is left of the log, where the
        segment it cut was removed already."""
        first = min(index, self.last_index - len(self.entries) + 1)
        del self.entries[index - first :]


def _decoded(segment: Segment, record: Record, decoder: msgspec.msgpack.Decoder[T]) -> T:
    try:
        return decoder.decode(record.payload)
    except msgspec.MsgspecError as error:
        raise CorruptLog(segment.name, record.offset, f"undecodable: {error}") from None


class Found(msgspec.Struct):
    """The contents of the segments.

    Args:
        entries: consecutive.
        segments: those the log goes on with, oldest first.
        end, crc: of the last record of the newest.
        last_index: index of the last entry.
        hard_state: the newest.
        void: how many of the oldest segments a reset made void.
        torn_bytes: bytes of torn tail to be cut.
        aside: files that the log does not go on with; to be put aside if there is damage.
        damage: what does not hold of what was promised; None if all does.
        seen: (generation, index) of the latest entry in any valid record, if there is damage.
        seen_slot: the highest index in any valid record, if there is damage.
    """

    entries: list[Entry]
    segments: list[Segment]
    end: int
    crc: int
    last_index: int
    hard_state: HardState
    void: int = 0
    torn_bytes: int = 0
    aside: list[str] = []
    damage: CorruptLog | None = None
    seen: tuple[int, int] = (0, 0)
    seen_slot: int = 0

    @property
    def last_generation(self) -> int:
        """Generation of the last entry; 0 if none is held."""
        return self.entries[-1].generation if self.entries else 0


def nothing_kept(found: Found, damage: CorruptLog) -> Found:
    """The same log, of which nothing can be used: all of it is put aside."""
    names = [segment.name for segment in found.segments]
    return Found(
        [], [], 0, 0, 0, found.hard_state, aside=[*names, *found.aside],
        damage=found.damage or damage,
        seen=max(found.seen, (found.last_generation, found.last_index)),
        seen_slot=max(found.seen_slot, found.last_index),
    )  # fmt: skip


def read_log(disk: Disk, promised: Superblock | None, matches: Matches) -> Found:
    """Read the segments, changing nothing.

    Args:
        disk: where they are.
        promised: the superblock; None for the log of a version that had none.
        matches: compares the CRC that a record states with that of its bytes.

    Returns:
        What they hold. If something promised is damaged or missing, only what the segments below
        the damage hold.

    Raises:
        CorruptLog: the log is damaged, and no superblock says what was promised.
        DiskError: the disk failed.
    """
    segments = sorted(
        (s for s in map(segment_of, disk.names()) if s is not None), key=lambda s: s.sequence
    )
    reader = _Reader(promised, matches)
    try:
        torn_bytes, blank = _read_all(disk, segments, reader)
        if promised is not None:
            reader.require_promised(promised, segments)
    except CorruptLog as damage:
        if promised is None:
            raise
        return _salvage(disk, segments, promised, damage, matches)
    found = _found(reader, blank)
    found.torn_bytes = torn_bytes
    return found


def _read_all(disk: Disk, segments: list[Segment], reader: _Reader) -> tuple[int, list[str]]:
    """Take every segment; the bytes of torn tail, and a last segment that was never begun."""
    for segment in segments[:-1]:
        reader.take_sealed(disk, segment)
    if not segments:
        return 0, []
    last = segments[-1]
    data = disk.read(last.name)
    found = scan(data, last.sequence, reader.matches)
    torn = require_torn_tail(last.name, data, last.sequence, found)
    torn_bytes = len(data.rstrip(b"\0")) - found.end if torn else 0
    if not found.records:
        return torn_bytes, [last.name]
    reader.take_segment(last, found)
    return torn_bytes, []


def _salvage(
    disk: Disk,
    segments: list[Segment],
    promised: Superblock,
    damage: CorruptLog,
    matches: Matches,
) -> Found:
    """The part of a damaged log that can be kept: the whole segments before the damage."""
    kept = _before(segments, damage.segment)
    while True:
        reader = _Reader(None, matches)
        if kept and kept[0].sequence > promised.first_segment > 0:
            kept = []
        try:
            for segment in kept:
                reader.take_sealed(disk, segment)
            break
        except CorruptLog as error:
            kept = _before(kept, error.segment)
    found = _found(reader, [segment.name for segment in segments[len(kept) :]])
    found.damage = damage
    for segment in segments:
        data = disk.read(segment.name)
        for record in every_record(data, segment.sequence):
            _see(found, record)
    return found


def _before(segments: list[Segment], name: str) -> list[Segment]:
    """The segments before the one of this name; all if it is none of them."""
    names = [segment.name for segment in segments]
    return segments[: names.index(name)] if name in names else segments


def _found(reader: _Reader, aside: list[str]) -> Found:
    return Found(
        reader.entries,
        reader.segments,
        reader.end,
        reader.crc,
        reader.last_index,
        reader.hard_state,
        reader.void,
        aside=aside,
    )


def _see(found: Found, record: Record) -> None:
    """Take note of a valid record wherever it is: what it says may have been promised."""
    try:
        if record.kind == ENTRIES:
            entries = _ENTRIES.decode(record.payload)
            if entries:
                found.seen = max(found.seen, (entries[-1].generation, entries[-1].index))
                found.seen_slot = max(found.seen_slot, entries[-1].index)
        elif record.kind == HARD_STATE:
            found.hard_state = newer(found.hard_state, _HARD_STATE.decode(record.payload))
        elif record.kind == SEGMENT:
            found.hard_state = newer(found.hard_state, _HEADER.decode(record.payload).hard_state)
    except msgspec.MsgspecError:
        return


def needs_superblock(disk: Disk) -> str:
    """The file that says that there must be a superblock; empty if none does.

    A segment that was begun under a superblock says so in its header.
    """
    for segment in filter(None, map(segment_of, disk.names())):
        for record in every_record(disk.read(segment.name), segment.sequence):
            if record.kind == SEGMENT and _decoded(segment, record, _HEADER).promised:
                return segment.name
    return ""
