"""Chunks: bytes that are too many for one message, one part of them under way at a time.

Problem. A snapshot, or the data of a partition that moves, may be larger than the largest frame;
frames are lost, repeated and reordered, and the one who sends may be replaced by another.

Solution. The receiver adds the part that begins where it stands, ignores every other, and always
answers how many bytes it has. That number alone says what is sent next. So a lost part is sent
again, a repeated one does nothing, and a new sender goes on where the old one stopped. Bytes are
named by a key: parts of something else begin anew.

Invariants. What was received is a prefix of what is sent. A part is added at most once.

What breaks without it. A62 for snapshots, whose key is older than what the node has; a partition
that is larger than a frame never moves.

Source: Raft paper 7 (InstallSnapshot's offset). Used by ``cluster.consensus.install_snapshot`` and
``cluster.data.partition_transfer``; pure.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import eq
from typing import Any


class Progress:
    """The sender's end: where it stands.

    Args:
        size: bytes in all.
    """

    __slots__ = ("offset", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        #: the first byte that is sent next
        self.offset = 0

    def progressed(self, offset: int) -> bool:
        """The receiver has so many bytes; whether another part must be sent for it.

        The receiver's number counts, forwards and backwards: only the receiver knows what it has.
        An answer that repeats the known number sends nothing. Otherwise two copies of one part
        would double every later one.
        """
        if offset == self.offset or not 0 <= offset <= self.size:
            return False
        self.offset = offset
        return True


class Arriving:
    """The receiver's end: the bytes in hand.

    Args:
        key: what the bytes are of; None for nothing yet.
        data: those in hand.
        is_same: whether a part is of what is arriving, by the keys of the two.
    """

    __slots__ = ("_data", "_is_same", "key")

    def __init__(
        self,
        key: Any = None,
        data: bytes = b"",
        *,
        is_same: Callable[[Any, Any], bool] = eq,
    ) -> None:
        self._is_same = is_same
        #: what the bytes are of
        self.key = key
        self._data = bytearray(data)

    @property
    def offset(self) -> int:
        """How many there are."""
        return len(self._data)

    def add(self, key: Any, offset: int, data: bytes, *, anew: bool = False) -> bool:
        """Take a part if it is the next one; whether it was.

        Args:
            key: what it is of.
            offset: where it begins.
            data: the part.
            anew: whether a first part begins anew although some of the same are there: where equal
                keys do not promise equal bytes.
        """
        if not self._is_same(self.key, key) or (anew and offset == 0):
            self.key, self._data = key, bytearray()
        if offset != len(self._data):
            return False
        self._data += data
        return True

    def peek(self) -> bytes:
        """All bytes in hand."""
        return bytes(self._data)

    def clear(self) -> None:
        """Forget them."""
        self.key, self._data = None, bytearray()
