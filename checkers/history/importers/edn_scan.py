"""Blocks of an EDN history taken apart in machine code: when that pays, and what comes of it.

See :mod:`.edn_kernel` for the method. It costs half a second to import numba and seconds to compile
once on a machine, so only a large file is read with it; a smaller one is through before that.
A million operations (200 MB of register operations) take 3.3 s of processor time with it and 11 s
without. Without numba every file is read the other way.

For `edn_lines`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from checkers.core import jit

#: From this size on the kernel pays for its start, even where it has to be compiled.
FILE_BYTES_MIN = 24 << 20

#: How many times larger a compressed file is taken to be.
PACKED_RATIO = 8

#: MessagePack's array with a length of 32 bits.
_ARRAY32 = b"\xdd"


def pays(path: str) -> bool:
    """Whether a file is large enough for the kernel."""
    from checkers.history.files import GZIP

    size = os.path.getsize(path)
    with open(path, "rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    return size * (PACKED_RATIO if packed else 1) >= FILE_BYTES_MIN


def scanner() -> Scanner | None:
    """A scanner; None where numba is not installed."""
    try:
        jit.ready("edn")
        return Scanner()
    except ImportError:
        return None


def warm() -> None:
    """Call every loop once, for :mod:`checkers.core.jit`."""
    Scanner().scan("{:type :ok, :process 1, :f :read, :value 1}\n")


class Lines(NamedTuple):
    """Columns of simple lines that follow each other; None for what no line has."""

    types: npt.NDArray[np.int8]
    processes: list[int]
    times_ns: npt.NDArray[np.int64]
    functions: list[str]
    values: list[object]
    keys: list[object] | None
    nodes: list[object] | None
    errors: list[object] | None


class Scanner:
    """Takes blocks apart, one after another; its buffers are kept from block to block.

    Attributes:
        good: for each line of the last block, whether it is simple.

    Raises:
        ImportError: numba is not installed.
    """

    def __init__(self) -> None:
        from checkers.history.importers import edn_kernel

        self._kernel = edn_kernel
        self.good: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._out = np.empty((edn_kernel.STREAMS, 0), dtype=np.uint8)
        self._rows = np.empty((0, 4), dtype=np.int64)
        self._stops = np.empty((0, edn_kernel.PASSED), dtype=np.int64)
        depth, nested = edn_kernel.DEPTH_MAX, edn_kernel.NESTED_KEYS_MAX
        self._work = edn_kernel.Work(
            np.zeros(depth, dtype=np.int64),
            np.zeros(depth, dtype=np.int64),
            np.zeros(depth, dtype=np.int64),
            np.zeros((depth, nested, 2), dtype=np.int64),
            np.zeros((edn_kernel.KEYS_MAX, 2), dtype=np.int64),
            np.zeros(edn_kernel.STREAMS, dtype=np.int64),
        )

    def scan(self, block: str) -> None:
        """Take a block of whole lines apart."""
        kernel, text = self._kernel, block.encode()
        count = text.count(b"\n")
        data = np.frombuffer(text + bytes(kernel.SPARE), dtype=np.uint8)
        room = kernel.GROWTH * len(text) + kernel.SPARE * (count + 1)
        if room > self._out.shape[1]:
            self._out = np.empty((kernel.STREAMS, room), dtype=np.uint8)
        self.good = np.zeros(count, dtype=np.bool_)
        self._rows = np.empty((count, 4), dtype=np.int64)
        self._stops = np.empty((count, kernel.PASSED), dtype=np.int64)
        kernel.scan(data, self._out, self.good, self._rows, self._stops, self._work)

    def runs(self) -> Iterator[tuple[bool, int, int]]:
        """Stretches of the last block's lines: whether they are simple, first line, end."""
        cuts = [0, *(np.flatnonzero(np.diff(self.good)) + 1).tolist(), len(self.good)]
        for first, end in itertools.pairwise(cuts):
            if first < end:
                yield bool(self.good[first]), first, end

    def lines(self, first: int, end: int) -> Lines:
        """The events of simple lines from ``first`` to before ``end``."""
        kernel, rows = self._kernel, self._rows[first:end]
        has = int(np.bitwise_or.reduce(rows[:, kernel.HAS]))
        return Lines(
            types=rows[:, kernel.TYPE].astype(np.int8),
            processes=rows[:, kernel.PROCESS].tolist(),
            times_ns=rows[:, kernel.TIME].copy(),
            functions=self._stream(kernel.FUNCTION, first, end),
            values=self._stream(kernel.VALUE, first, end),
            keys=self._stream(kernel.KEY, first, end) if has & kernel.HAS_KEY else None,
            nodes=self._stream(kernel.NODE, first, end) if has & kernel.HAS_NODE else None,
            errors=self._stream(kernel.ERROR, first, end) if has & kernel.HAS_ERROR else None,
        )

    def _stream(self, stream: int, first: int, end: int) -> list[Any]:
        """The values of a stream: one array of MessagePack, decoded in bulk."""
        start = int(self._stops[first - 1, stream]) if first else 0
        body = self._out[stream, start : int(self._stops[end - 1, stream])].tobytes()
        head = _ARRAY32 + (end - first).to_bytes(4, "big")
        found: list[Any] = msgspec.msgpack.decode(head + body, type=list, strict=True)
        return found
