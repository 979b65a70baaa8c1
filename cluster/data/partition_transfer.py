"""Partition transfer: a partition's data on its way to another group, in parts.

Problem. A partition may be larger than the largest frame, and than what one entry of a log should
be. The node that carries it may die on the way, and its parts may be lost.

Solution. A frozen partition whose intents have ended never changes, so its data is the same bytes
whenever it is asked for: they are named by their digest. The old group gives any part of them. The
controller takes each to the new group's log, which answers how many bytes it has
(``cluster.channel.chunks``): that is where the next part begins, for this controller or another
one. The last part comes with the order to adopt the partition; a small one is all in that.
A group that has adopted the partition says that it has all bytes; the last part is empty then.

A part is of a partition at an epoch: of one that the group has had, it takes none.

Invariants. A group adopts a partition only when it has all bytes, and their digest is the one that
the old group named. What is in hand is part of the replicated state.

What breaks without it. A partition of more than a frame never moves, or is adopted in part.

Source: Raft paper 7, for parts. Used by ``cluster.data.partition_store``; pure and deterministic.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import msgspec

from cluster.channel.chunks import Arriving

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Part(NamedTuple):
    """Part of a partition's data.

    Args:
        digest: names all of the bytes.
        size: how many they are.
        offset: where this part begins.
        data: the part.
    """

    digest: str
    size: int
    offset: int
    data: bytes

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after it."""
        return self.offset + len(self.data) == self.size

    def problem(self) -> str:
        """Why it is no part of anything; "" if it may be one."""
        end = self.offset + len(self.data)
        if end > self.size or (not self.data and not self.is_last):
            return f"{len(self.data)} bytes from {self.offset} on are no part of {self.size}"
        return ""


def packed(state: Any) -> bytes:
    """A partition's data as bytes."""
    return _encode(state)


def unpacked(data: bytes) -> Any:
    """A partition's data from bytes; None if they are none."""
    try:
        return _decode(data)
    except msgspec.DecodeError:
        return None


def digest_of(data: bytes) -> str:
    """The name of bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Leaving:
    """The bytes of the frozen partitions that a replica was asked for: no part of its state, since
    they follow from it, but dear to make again for each part."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed: dict[str, tuple[int, str, bytes]] = {}

    def part(self, name: str, epoch: int, state: Any, offset: int, bytes_max: int) -> Part:
        """Part of a partition's data.

        Args:
            name, epoch: the partition.
            state: gives its data, which does not change.
            offset: where the part begins.
            bytes_max: how large it may be.
        """
        known = self._packed.get(name)
        if known is None or known[0] != epoch:
            data = packed(state())
            known = self._packed[name] = (epoch, digest_of(data), data)
        _, digest, data = known
        return Part(digest, len(data), offset, data[offset : offset + bytes_max])

    def forget(self, name: str) -> None:
        """A partition is gone."""
        self._packed.pop(name, None)

    def clear(self) -> None:
        """The whole state is another one."""
        self._packed.clear()


class Arrivals:
    """The partitions that are on their way to a group, as far as their parts are there."""

    __slots__ = ("_arriving",)

    def __init__(self) -> None:
        #: name -> the bytes in hand; their key is (epoch, digest, size)
        self._arriving: dict[str, Arriving] = {}

    def add(self, name: str, epoch: int, part: Part) -> int:
        """Take a part; how many bytes are in hand then. One of a lower epoch is not taken."""
        arriving = self._arriving.setdefault(name, Arriving())
        if arriving.key is None or arriving.key[0] <= epoch:
            arriving.add((epoch, part.digest, part.size), part.offset, part.data)
        return arriving.offset

    def whole(self, name: str, epoch: int, last: Part) -> tuple[bytes, str]:
        """All bytes of a partition whose last part this is, or why there are not all."""
        known = self._arriving.get(name, Arriving())
        before = known.peek() if known.key == (epoch, last.digest, last.size) else b""
        if len(before) < last.offset:
            return b"", f"{name} at epoch {epoch} has {len(before)} bytes of {last.size}"
        data = before[: last.offset] + last.data
        if not last.is_last or digest_of(data) != last.digest:
            return b"", f"the bytes of {name} at epoch {epoch} are not those of {last.digest}"
        return data, ""

    def forget(self, name: str, epoch: int) -> None:
        """A partition is there, or will not come any more, at this epoch and those below."""
        known = self._arriving.get(name)
        if known is not None and known.key[0] <= epoch:
            del self._arriving[name]

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """Everything, for a snapshot."""
        return [(name, list(each.key), each.peek()) for name, each in self._arriving.items()]

    def restore(self, state: Any) -> None:
        """Replace everything by what :meth:`encode` gave, decoded afresh."""
        self._arriving = {name: Arriving(tuple(key), data) for name, key, data in state}

    def rest(self) -> Any:
        """What names the state, to be hashed: bytes of one digest are the same."""
        return sorted([name, *each.key, each.offset] for name, each in self._arriving.items())
