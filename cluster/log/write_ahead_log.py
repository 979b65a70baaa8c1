"""Write-Ahead Log: the record, and how to tell a torn tail from a corrupt log.

Problem. A node that promised something (a vote, an acknowledged entry) must still keep the promise
after losing power at any instant.

Solution. Append what is promised to a file, make it durable, and only then let the promise leave.
After a crash the log is read from its start.

Invariants.

- Recovery yields the longest valid prefix, and the same one when repeated.
- Only a tail that was never acknowledged may be cut. Damage below it is told and never cut: then
  ``storage`` lets the node's peers repair it, or the node refuses to start.

What breaks without it. A01: an entry acknowledged before its sync is lost in a power cut. A04: a
vote that is not written is given twice. A06: a promise leaves before its generation is durable.
A03a: a record whose bytes are not what was written is believed. A03b: damage cut off like a torn
tail silently drops every acknowledged record after one flipped bit. A03c: a node that has lost
records takes part as if it had them. A05: a failed sync is ignored, and the next one reports
success without the bytes.

A record, little endian:

    magic 3s | type u8 | length u32 | index u64 | durable u32 | previous u32 | header CRC u32
    payload (length bytes)
    CRC u32 of header and payload | end mark 0xFE

``previous`` is the CRC of the record before: the chain. ``durable`` is how many bytes of this
segment were already synced when the record was written: the evidence that makes damage decidable.
The header CRC is seeded with the record's place, so bytes of a record inside a client's value, or a
record in the wrong place, are not taken for one. The end mark is never zero, so a complete record
cannot look like one whose end was not written.

Decidability. Say the first bad record of the last segment is at offset p.

1. A later record, with a valid header, says ``durable > p``: p had been synced, so this is damage:
   :class:`CorruptLog`.
2. No such record, and no torn write explains the bytes: damage. A write torn by a crash leaves a
   prefix of the bytes and then zeros, or whole 512-byte sectors that are still zero (the room is
   preallocated and zero), and anything at all in the last 512 bytes, which were being written.
   Flipped bits above those are none of this.
3. Otherwise it is a torn tail, written after the last sync that any surviving record knows of, and
   is cut. Not decidable from the log alone: a sector of the very last synced batch that turns to
   zeros, or any damage to records that end in the last 512 bytes of the log, looks just like a
   batch that was never synced. And a log that ends early at a record looks whole. The second
   record of the end is the ``superblock``.

A bad record in a segment that is not the last is always damage: a segment is synced whole before
the next one is created, whose header states where it ended and its last CRC.

Source: Joshi, *Patterns of Distributed Systems*, "Write-Ahead Log"; Rebello and others, "Can
Applications Recover from fsync Failures?" (2020); Alagappan and others, "Protocol-Aware Recovery
for Consensus-Based Storage" (2018). Called by ``segmented_log`` and ``recovery`` only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from operator import eq
from typing import TypeAlias
from zlib import crc32

import msgspec

MAGIC = b"\xa5WL"
SEGMENT, HARD_STATE, ENTRIES, CUT = 1, 2, 3, 4

_FIELDS = struct.Struct("<3sBIQII")
_CRC = struct.Struct("<I")
_TRAILER = struct.Struct("<IB")
_END_MARK = 0xFE

HEADER_BYTES = _FIELDS.size + _CRC.size
TRAILER_BYTES = _TRAILER.size
SECTOR_BYTES = 512

#: Compares the CRC that a record states with that of its bytes.
Matches: TypeAlias = Callable[[int, int], bool]


class CorruptLog(Exception):
    """The log is damaged below what was acknowledged; the node must not start from it.

    Args:
        segment: file name.
        offset: byte offset in it of the first damage.
        reason: what is wrong there, in words.
    """

    def __init__(self, segment: str, offset: int, reason: str) -> None:
        self.segment = segment
        self.offset = offset
        self.reason = reason
        super().__init__(f"corrupt log: {segment} at byte {offset}: {reason}")


class Record(msgspec.Struct, frozen=True):
    """A record as found in a segment.

    Args:
        offset, end: the bytes it occupies.
        kind: ``SEGMENT``, ``HARD_STATE``, ``ENTRIES`` or ``CUT``.
        index: base index of a segment, first index of entries, or of what a cut takes away.
        durable: bytes of this segment known to be durable when it was written.
        previous: CRC of the record before it.
        crc: its own, to which the next one is chained.
        payload: msgpack, by kind.
    """

    offset: int
    end: int
    kind: int
    index: int
    durable: int
    previous: int
    crc: int
    payload: bytes


class Scan(msgspec.Struct, frozen=True):
    """The outcome of a pass over one segment.

    Args:
        records: the valid prefix.
        end: where it ends.
        fault: why the next record is not valid, or "" if only zeros follow at that place.
    """

    records: list[Record]
    end: int
    fault: str


def _seed(sequence: int, offset: int) -> int:
    return (sequence * 0x9E3779B1 ^ offset) & 0xFFFFFFFF


def encode_record(
    kind: int,
    payload: bytes,
    *,
    index: int,
    durable: int,
    previous: int,
    sequence: int,
    offset: int,
) -> tuple[bytes, int]:
    """The bytes of a record and its CRC.

    Args:
        kind: record type.
        payload: its content.
        index: log index it concerns.
        durable: bytes of the segment that are durable now.
        previous: CRC of the record before it, 0 for the first of a log.
        sequence: number of the segment it goes to.
        offset: place in that segment.
    """
    fields = _FIELDS.pack(MAGIC, kind, len(payload), index, durable, previous)
    header_crc = crc32(fields, _seed(sequence, offset))
    crc = crc32(payload, header_crc)
    return b"".join((fields, _CRC.pack(header_crc), payload, _TRAILER.pack(crc, _END_MARK))), crc


class _Header(msgspec.Struct, frozen=True):
    kind: int
    length: int
    index: int
    durable: int
    previous: int
    crc: int


def _header(data: bytes, offset: int, sequence: int) -> _Header | None:
    """The record header at an offset, or None if what is there is not one."""
    if offset + HEADER_BYTES > len(data):
        return None
    magic, kind, length, index, durable, previous = _FIELDS.unpack_from(data, offset)
    (crc,) = _CRC.unpack_from(data, offset + _FIELDS.size)
    if magic != MAGIC:
        return None
    if crc32(memoryview(data)[offset : offset + _FIELDS.size], _seed(sequence, offset)) != crc:
        return None
    return _Header(kind, length, index, durable, previous, crc)


def _read(data: bytes, offset: int, sequence: int, matches: Matches = eq) -> Record | str:
    """The record at an offset, or why there is none."""
    header = _header(data, offset, sequence)
    if header is None:
        return "no valid record header"
    body = offset + HEADER_BYTES
    end = body + header.length + TRAILER_BYTES
    if end > len(data):
        return f"record of {end - offset} bytes goes beyond the end of the file"
    payload = data[body : body + header.length]
    crc, mark = _TRAILER.unpack_from(data, body + header.length)
    if mark != _END_MARK or not matches(crc, crc32(payload, header.crc)):
        return "record does not match its CRC"
    if header.kind not in (SEGMENT, HARD_STATE, ENTRIES, CUT):
        return f"record of unknown type {header.kind}"
    return Record(
        offset, end, header.kind, header.index, header.durable, header.previous, crc, payload
    )


def scan(data: bytes, sequence: int, matches: Matches = eq) -> Scan:
    """The longest valid prefix of a segment's bytes, chained record to record.

    Args:
        data: the whole segment, with or without its zero room.
        sequence: the segment's number.
        matches: whether a record's CRC, as stated and as computed, shows that it is sound.
    """
    records: list[Record] = []
    offset = 0
    while True:
        found = _read(data, offset, sequence, matches)
        if isinstance(found, str):
            blank = not any(data[offset : offset + HEADER_BYTES])
            return Scan(records, offset, "" if blank else found)
        if records and found.previous != records[-1].crc:
            return Scan(records, offset, "record does not follow the one before it (CRC chain)")
        records.append(found)
        offset = found.end


def require_torn_tail(name: str, data: bytes, sequence: int, found: Scan) -> bool:
    """Decide about everything after the valid prefix of the *last* segment.

    Returns:
        True if there is a torn tail to cut, False if only zeros follow.

    Raises:
        CorruptLog: the bytes were durable once, or no torn write explains them.
    """
    cut = found.end
    if not data[cut:].strip(b"\0"):
        return False
    for offset, durable in _later_headers(data, cut, sequence):
        if durable > cut:
            reason = found.fault or "zeros where a record must be"
            raise CorruptLog(
                name, cut, f"{reason}, and the record at {offset} proves that it was durable"
            )
    if not _torn(data, cut, sequence):
        raise CorruptLog(name, cut, f"{found.fault}, and no torn write explains it")
    return True


def _later_headers(data: bytes, start: int, sequence: int) -> Iterator[tuple[int, int]]:
    """Offset and durable mark of every valid record header after ``start``."""
    offset = data.find(MAGIC, start + 1)
    while offset >= 0:
        header = _header(data, offset, sequence)
        if header is not None:
            yield offset, header.durable
        offset = data.find(MAGIC, offset + 1)


def every_record(data: bytes, sequence: int) -> Iterator[Record]:
    """Every valid record in a segment's bytes, those behind damage too."""
    offset = data.find(MAGIC)
    while offset >= 0:
        found = _read(data, offset, sequence)
        if isinstance(found, Record):
            yield found
        offset = data.find(MAGIC, offset + 1)


def _torn(data: bytes, offset: int, sequence: int) -> bool:
    """Whether a crash during a write can have left the bad record at ``offset`` like this."""
    header = _header(data, offset, sequence)
    end = offset + HEADER_BYTES
    if header is not None:
        end += header.length + TRAILER_BYTES
    written = len(data.rstrip(b"\0"))
    if written < end + SECTOR_BYTES:
        return True
    while offset < end:
        sector_end = min(end, (offset // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if not any(data[offset:sector_end]):
            return True
        offset = sector_end
    return False
