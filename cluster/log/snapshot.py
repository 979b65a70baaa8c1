"""Snapshot files: the state at an index, so that the log below it can go.

Problem: a snapshot is large, and a crash may fall anywhere in its writing. Solution: write it under
a temporary name, sync it, rename it, sync the directory. Only then does it exist, and only then may
an older snapshot or the log below it be removed.

Invariants: a file named ``snapshot-<index>-<generation>`` was complete and durable before it got
its name, so one that does not match its CRC is damage and never a torn write. ``storage`` says what
follows: the node is repaired by its peers, or refuses to start. A temporary file is rubbish and is
removed at start.

File: magic, CRC u32, length u64 (little endian), then the msgpack of ``cluster.wire.Snapshot``.

Called by ``storage``; sans-IO over ``Disk``.
"""

from __future__ import annotations

import re
import struct
from zlib import crc32

import msgspec

from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Disk
from cluster.wire import Snapshot

_HEAD = struct.Struct("<8sIQ")
_MAGIC = b"\xa5SNAP\0\0\1"
_NAME = re.compile(r"snapshot-[0-9a-f]{16}-[0-9a-f]{16}")
_TEMPORARY = "snapshot.tmp"

_encode = msgspec.msgpack.Encoder().encode
_SNAPSHOT = msgspec.msgpack.Decoder(Snapshot)


def _name_of(snapshot: Snapshot) -> str:
    return f"snapshot-{snapshot.index:016x}-{snapshot.generation:016x}"


class SnapshotStore:
    """The snapshot files of one log.

    Args:
        disk: where they are.
        salt: of this log; a file with another is not valid.
    """

    def __init__(self, disk: Disk, salt: int = 0) -> None:
        self._disk = disk
        self._salt = salt

    def newest(self, *, at_least: int = 0) -> Snapshot | None:
        """The newest durable snapshot; leftovers of an interrupted save are removed.

        Args:
            at_least: index that one must reach, since it was promised; 0 for none.

        Raises:
            CorruptLog: its file is damaged or missing.
        """
        if _TEMPORARY in self._disk.names():
            self._disk.remove(_TEMPORARY)
        complete = self.names()
        snapshot = self._load(complete[-1]) if complete else None
        if at_least > (snapshot.index if snapshot else 0):
            name = complete[-1] if complete else f"snapshot-{at_least:016x}"
            raise CorruptLog(name, 0, f"the snapshot of index {at_least} is missing")
        return snapshot

    def names(self) -> list[str]:
        """Names of the snapshots, oldest first."""
        return [name for name in self._disk.names() if _NAME.fullmatch(name)]

    def write(self, snapshot: Snapshot) -> int:
        """Write under the temporary name, not durable yet. Returns the bytes written.

        Raises:
            DiskError: the disk failed; with ``no_room`` nothing was written.
        """
        if _TEMPORARY in self._disk.names():
            self._disk.remove(_TEMPORARY)
        data = _encode(snapshot)
        self._disk.create(_TEMPORARY, preallocate_bytes=_HEAD.size + len(data))
        self._disk.append(_TEMPORARY, _HEAD.pack(_MAGIC, crc32(data, self._salt), len(data)) + data)
        return _HEAD.size + len(data)

    def commit(self, snapshot: Snapshot) -> None:
        """Make the snapshot written last durable under its name, and remove older ones."""
        name = _name_of(snapshot)
        self._disk.sync(_TEMPORARY)
        self._disk.rename(_TEMPORARY, name)
        self._disk.sync_dir()
        self.remove_older(name)

    def remove_older(self, name: str) -> None:
        """Remove every snapshot but the one of this name."""
        for other in self._disk.names():
            if _NAME.fullmatch(other) and other < name:
                self._disk.remove(other)

    def _load(self, name: str) -> Snapshot:
        data = self._disk.read(name)
        if len(data) < _HEAD.size:
            raise CorruptLog(name, len(data), "the snapshot ends within its header")
        magic, crc, length = _HEAD.unpack_from(data)
        body = data[_HEAD.size : _HEAD.size + length]
        if magic != _MAGIC or len(body) != length or crc32(body, self._salt) != crc:
            raise CorruptLog(name, 0, "the snapshot does not match its CRC")
        try:
            snapshot = _SNAPSHOT.decode(body)
        except msgspec.MsgspecError as error:
            raise CorruptLog(name, _HEAD.size, f"undecodable snapshot: {error}") from None
        if _name_of(snapshot) != name:
            raise CorruptLog(name, 0, f"the snapshot inside is of index {snapshot.index}")
        return snapshot
