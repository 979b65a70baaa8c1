"""Recovery: reading the segments after a crash.

Pure decisions over bytes: the chain must hold within and across segments, every segment but the
last must end exactly where its successor says, indexes must have no gap, and only a torn tail of
the last segment may be cut (see ``write_ahead_log`` for what is decidable and why). A last segment
whose header was never written completely holds nothing anyone was told about, and is removed.

Called by ``storage`` once, at start.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from cluster.log.segmented_log import Segment, SegmentedLog, SegmentHeader, segment_of
from cluster.log.write_ahead_log import (
    CUT,
    ENTRIES,
    HARD_STATE,
    SEGMENT,
    CorruptLog,
    Record,
    Scan,
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
    """Gathers the log's content, record by record, in the order written."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.last_index = 0
        self.hard_state = HardState()
        self.crc = 0
        self.end = 0
        self.segments: list[Segment] = []
        self.void = 0

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


def recover_log(disk: Disk, *, segment_bytes: int) -> tuple[SegmentedLog, list[Entry], int]:
    """Read the log, cut its torn tail, and open it for appending.

    Args:
        disk: where the segments are.
        segment_bytes: size of new segments.

    Returns:
        The log (not yet opened), its entries, and how many bytes of torn tail are to be cut.

    Raises:
        CorruptLog: something acknowledged is damaged or missing.
        DiskError: the disk failed.
    """
    segments = sorted(
        (s for s in map(segment_of, disk.names()) if s is not None), key=lambda s: s.sequence
    )
    reader = _Reader()
    torn_bytes = 0
    for position, segment in enumerate(segments):
        data = disk.read(segment.name)
        found = scan(data, segment.sequence)
        if position == len(segments) - 1:
            if require_torn_tail(segment.name, data, segment.sequence, found):
                torn_bytes = len(data.rstrip(b"\0")) - found.end
            if not found.records:
                disk.remove(segment.name)
                break
        elif not found.records or data[found.end :].strip(b"\0"):
            fault = found.fault or "zeros where a record must be"
            raise CorruptLog(segment.name, found.end, f"{fault}, in a segment that is not the last")
        reader.take_segment(segment, found)
    log = SegmentedLog(
        disk,
        segment_bytes=segment_bytes,
        segments=reader.segments,
        end=reader.end,
        crc=reader.crc,
        last_index=reader.last_index,
        hard_state=reader.hard_state,
        void=reader.void,
    )
    return log, reader.entries, torn_bytes
