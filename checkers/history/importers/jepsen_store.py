"""Jepsen's binary ``test.jepsen``: the history in it, without the rest of the test.

A file is the magic ``JEPSEN``, 32 bits of version, 64 bits of where the index block stands, and
blocks. A block is 64 bits of length, 32 of checksum, 16 of type and 14 bytes unused, then its
data; the checksum is the CRC-32 of the data and then of the header with a checksum of zero. The
index names the root, which is the test as a map, whose ``history`` refers to a block: a vector in
Fressian, or a big vector, whose chunks are blocks of their own. All integers are big-endian.

An older ``test.fressian`` is the test alone.

Source: the documentation of ``jepsen.store.format``.
"""

from __future__ import annotations

import os
import struct
import zlib

from checkers.history import files
from checkers.history.columns import short
from checkers.history.errors import HistoryError
from checkers.history.fressian import Reader, Tagged
from checkers.history.history import History
from checkers.history.importers.rows import Rows

MAGIC = b"JEPSEN"
VERSIONS = (0, 1)
INDEX, FRESSIAN, PARTIAL_MAP, STREAM, BIG_VECTOR = range(1, 6)

_FILE = struct.Struct(">6sIQ")
_BLOCK = struct.Struct(">qIH14x")
_INDEXED = struct.Struct(">IQ")
_CHUNK = struct.Struct(">QI")

#: Big vectors within big vectors, and maps continued in maps.
DEPTH_MAX = 8

_KEEP = frozenset(("block-ref", "jepsen.history.Op"))
_OP_FIELDS = ("index", "time", "type", "process", "f", "value")


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes is a test of Jepsen's."""
    return head.startswith(MAGIC) or (
        os.path.basename(path) == "test.fressian" and head[:1] == b"\xc0"
    )


def load(path: str) -> History:
    """Load the history of a test.

    Raises:
        HistoryError: the file is damaged, of a version that is not known, or has no history.
    """
    data = files.whole(path, b"J\xc0")
    rows = Rows(lambda row: f"operation {row + 1}")
    try:
        if data.startswith(MAGIC):
            test, found = _Store(data).test_and_history()
        else:
            test = Reader(data, _KEEP).read()
            found = test.get("history") if isinstance(test, dict) else None
    except HistoryError as error:
        hint = "; history.edn beside it has the same history as text"
        raise HistoryError(error.message + hint, place=error.place) from None
    if not isinstance(found, list):
        raise HistoryError("the test has no history: it may have ended before one was written")
    if isinstance(test, dict) and "results" not in test:
        rows.notes.append("The test has no results: it was cut, and so may be its history.")
    rows.extend([_row(op) for op in found])
    return rows.history()


def _row(op: object) -> object:
    """An operation as a map."""
    if not isinstance(op, Tagged) or len(op.fields) != len(_OP_FIELDS) + 1:
        return op
    more = op.fields[-1]
    return {**(more if isinstance(more, dict) else {}), **dict(zip(_OP_FIELDS, op.fields))}


class _Store:
    """The blocks of a file.

    Args:
        data: all of it.

    Raises:
        HistoryError: it has no header, no index, or is of an unknown version.
    """

    def __init__(self, data: bytearray) -> None:
        self._data = memoryview(data)
        if len(data) < _FILE.size:
            raise HistoryError("the file ends within its header; it may be cut")
        _, version, at = _FILE.unpack_from(data)
        if version not in VERSIONS:
            raise HistoryError(f"the file is of version {version}, and this reader knows 0 and 1")
        if not at:
            raise HistoryError("the file has no index: the test ended before one was written")
        kind, index = self._block(at)
        if kind != INDEX or len(index) % _INDEXED.size != 4:
            raise HistoryError(f"the block at byte {at} is no index")
        self._root = int.from_bytes(index[:4], "big")
        self._places = dict(_INDEXED.iter_unpack(index[4:]))

    def test_and_history(self) -> tuple[object, object]:
        """The test's map, and the operations of its history, None if there are none.

        Raises:
            HistoryError: a block is damaged.
        """
        test = self._read(self._root, 0)
        reference = test.get("history") if isinstance(test, dict) else None
        if isinstance(reference, Tagged) and reference.tag == "block-ref" and reference.fields:
            return test, self._read(reference.fields[0], 0)
        return test, reference

    def _block(self, at: int) -> tuple[int, memoryview]:
        """Type and data of the block at a place."""
        header = bytes(self._data[at : at + _BLOCK.size])
        if len(header) < _BLOCK.size:
            raise HistoryError(f"the block at byte {at} is cut")
        length, checksum, kind = _BLOCK.unpack(header)
        data = self._data[at + _BLOCK.size : at + max(length, 0)]
        if length < _BLOCK.size or len(data) != length - _BLOCK.size:
            raise HistoryError(f"the block at byte {at} is cut")
        blank = header[:8] + bytes(4) + header[12:]
        if zlib.crc32(blank, zlib.crc32(data)) != checksum:
            raise HistoryError(f"the block at byte {at} is damaged: its checksum differs")
        return kind, data

    def _read(self, number: object, depth: int) -> object:
        """The value of a block, which is asked for once."""
        if type(number) is not int or number not in self._places or depth > DEPTH_MAX:
            raise HistoryError(f"there is no block {short(number)}, or it is in two places")
        kind, data = self._block(self._places.pop(number))
        if kind == FRESSIAN:
            return Reader(data, _KEEP).read()
        if kind == STREAM:
            reader, found = Reader(data, _KEEP), []
            while reader.more:
                found.append(reader.read())
            return found
        if kind == PARTIAL_MAP and len(data) > 4:
            rest = int.from_bytes(data[:4], "big")
            more = self._read(rest, depth + 1) if rest else {}
            first = Reader(data[4:], _KEEP).read()
            return {**more, **first} if isinstance(more, dict) and isinstance(first, dict) else {}
        if kind == BIG_VECTOR and len(data) % _CHUNK.size == 8:
            return self._vector(data, depth)
        raise HistoryError(f"block {number} is of the unknown type {kind}")

    def _vector(self, data: memoryview, depth: int) -> list[object]:
        """The elements of a big vector, chunk by chunk."""
        found: list[object] = []
        for first, number in _CHUNK.iter_unpack(data[8:]):
            part = self._read(number, depth + 1)
            if first != len(found) or not isinstance(part, list):
                raise HistoryError(f"chunk {number} of the history is not where it should be")
            found += part
        if len(found) != int.from_bytes(data[:8], "big"):
            raise HistoryError("the history has another length than is said")
        return found
