"""A disk for the tests that can crash at any operation, and loses what a real one may lose.

Unsynced bytes of a file are written in 512-byte sectors, in any order: a crash keeps any subset of
them (the others stay zero), or a byte prefix, and may leave garbage in the last one. Directory
operations since the last ``sync_dir`` survive as a prefix. Deliberately not the simulator's disk:
two independent readings of the Disk port.
"""

from __future__ import annotations

import random

from cluster.ports import DiskError

SECTOR = 512


class Crash(Exception):
    """Power is gone."""


class File:
    def __init__(self, room: int) -> None:
        self.content = bytearray()
        self.durable = b""
        self.room = room


class CrashDisk:
    """``budget`` operations succeed, then the next one raises ``Crash`` (or the error given)."""

    def __init__(self) -> None:
        self.live: dict[str, File] = {}
        self.durable: dict[str, File] = {}
        self.journal: list[dict[str, File]] = []
        self.operations = 0
        self.budget: int | None = None
        self.error: str | None = None

    def _step(self, operation: str, name: str) -> None:
        self.operations += 1
        if self.budget is not None:
            if self.budget <= 0:
                if self.error:
                    raise DiskError(self.error, operation, name)
                raise Crash
            self.budget -= 1

    def names(self) -> list[str]:
        return sorted(self.live)

    def read(self, name: str) -> bytes:
        file = self.live[name]
        return bytes(file.content).ljust(file.room, b"\0")

    def create(self, name: str, *, preallocate_bytes: int = 0) -> None:
        self._step("create", name)
        assert name not in self.live
        self.live[name] = File(preallocate_bytes)
        self.journal.append(dict(self.live))

    def append(self, name: str, data: bytes) -> None:
        self._step("append", name)
        self.live[name].content += data

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        self._step("overwrite", name)
        content = self.live[name].content
        content.extend(bytes(self.live[name].room - len(content)))
        assert offset + len(data) <= len(content)
        content[offset : offset + len(data)] = data

    def truncate(self, name: str, size_bytes: int) -> None:
        self._step("truncate", name)
        content = self.live[name].content
        del content[size_bytes:]
        content.extend(bytes(size_bytes - len(content)))

    def sync(self, name: str) -> None:
        self._step("sync", name)
        self.live[name].durable = bytes(self.live[name].content)

    def sync_dir(self) -> None:
        self._step("sync_dir", ".")
        self.durable = dict(self.live)
        self.journal.clear()

    def rename(self, old: str, new: str) -> None:
        self._step("rename", old)
        self.live[new] = self.live.pop(old)
        self.journal.append(dict(self.live))

    def remove(self, name: str) -> None:
        self._step("remove", name)
        del self.live[name]
        self.journal.append(dict(self.live))

    def kill(self) -> None:
        """The process dies, and the machine lives: what was overwritten stays, appends do not."""
        for file in self.durable.values():
            if len(file.content) != len(file.durable):
                file.content = bytearray(file.durable)
            file.durable = bytes(file.content)
        self.live = dict(self.durable)
        self.journal.clear()
        self.budget = self.error = None

    def crash(self, source: random.Random) -> None:
        """Lose power; what is left is what a restart finds, and all of it is durable."""
        kept = source.randint(0, len(self.journal))
        names = self.journal[kept - 1] if kept else self.durable
        for file in names.values():
            file.content = bytearray(torn(file, source))
            file.durable = bytes(file.content)
        self.live, self.durable = dict(names), dict(names)
        self.journal.clear()
        self.budget = self.error = None


def torn(file: File, source: random.Random) -> bytes:
    """What may be left of a file's content."""
    durable, content = file.durable, bytes(file.content)
    if len(durable) == len(content) != 0:  # overwritten in places: each sector was written or not
        return b"".join(
            source.choice((durable[at : at + SECTOR], content[at : at + SECTOR]))
            for at in range(0, len(content), SECTOR)
        )
    if not content.startswith(durable):  # a truncation that is not durable: done or not
        return source.choice((durable, content))
    mode = source.choice(("lost", "prefix", "prefix", "sectors", "all"))
    if mode == "lost":
        return durable
    if mode == "all":
        return content
    if mode == "prefix":
        end = source.randint(len(durable), len(content))
        left = bytearray(content[:end])
        if source.random() < 0.3:
            garbled = min(SECTOR, end - len(durable))
            left[end - garbled :] = source.randbytes(garbled)
        return bytes(left)
    left = bytearray(content)
    for start in range(len(durable) - len(durable) % SECTOR, len(content), SECTOR):
        if source.random() < 0.5:
            low = max(start, len(durable))
            left[low : start + SECTOR] = bytes(len(left[low : start + SECTOR]))
    return bytes(left)
