"""Opening history files: compressed or not, with or without a byte order mark.

A file that begins with gzip's two magic bytes is decompressed as it is read, whatever its name; a
UTF-8 byte order mark is passed over. What goes wrong in the middle (a truncated or damaged archive)
is a :class:`HistoryError` like any other defect of a history. Every reader here is bounded: a file
that is no history costs neither its size in memory nor more than a look at its beginning.

For the loaders of this package.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from typing import IO, Any

from checkers.budget import BudgetSpent, current
from checkers.history.errors import HistoryError

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"

#: Larger files of formats which must be in memory whole are refused.
WHOLE_BYTES_MAX = 4 << 30

#: Bytes asked of a file at once.
BLOCK_BYTES = 1 << 20


def _require_budget(file: IO[bytes]) -> None:
    """Note how far reading has come; stop where the budget is spent.

    Raises:
        BudgetSpent: it is.
    """
    meter = current()
    if meter is None:
        return
    size, done = os.fstat(file.fileno()).st_size, file.tell()
    if size and done / size > meter.read_share:  # some loaders read a file twice
        meter.read_share, meter.read_of_mb = done / size, size / 1e6
    if meter.spent(look=True):
        raise BudgetSpent(meter.reason)


class _Reader:
    """The bytes of a history file, decompressed, without a byte order mark."""

    def __init__(self, file: IO[bytes], packed: bool) -> None:
        self._raw = file
        self._file = gzip.GzipFile(fileobj=file) if packed else file
        self._head = b""
        head = self._read(len(BOM))
        self._head = b"" if head == BOM else head

    def read(self, size: int) -> bytes:
        """At most this many bytes; none at the end.

        Raises:
            HistoryError: the archive is cut or damaged.
        """
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head + self._read(size - len(head)) if size > len(head) else head
        return self._read(size)

    def _read(self, size: int) -> bytes:
        _require_budget(self._raw)
        try:
            return self._file.read(size)
        except EOFError:
            raise HistoryError("the gzip archive ends too early; it may be cut") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise HistoryError(f"the gzip archive is damaged: {error}") from None


class Opened:
    """A context manager around :class:`_Reader`.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> _Reader:
        self._file = open(self._path, "rb")
        try:
            packed = self._file.read(len(GZIP)) == GZIP
            self._file.seek(0)
            return _Reader(self._file, packed)
        except BaseException:
            self._file.close()
            raise

    def __exit__(self, *rest: Any) -> None:
        self._file.close()


def head(path: str, size: int) -> bytes:
    """The first bytes of a file.

    Raises:
        HistoryError: it is a damaged archive.
        OSError: it cannot be opened.
    """
    with Opened(path) as file:
        return file.read(size)


def whole(path: str, opens: bytes) -> bytearray:
    """All bytes of a file whose format needs them at once.

    Args:
        path: the file.
        opens: the characters that its first non-blank one may be; anything else is refused before
            the rest is read.

    Raises:
        HistoryError: it begins otherwise, or is larger than :data:`WHOLE_BYTES_MAX`.
        OSError: it cannot be opened.
    """
    data = bytearray()
    with Opened(path) as file:
        while block := file.read(BLOCK_BYTES):
            if not data:
                _require(block, opens)
            data += block
            if len(data) > WHOLE_BYTES_MAX:
                limit_gb = WHOLE_BYTES_MAX >> 30
                raise HistoryError(f"the file is larger than {limit_gb} GB; split it")
    return data


def _require(block: bytes, opens: bytes) -> None:
    first = block.lstrip()[:1]
    if first and first not in [bytes([byte]) for byte in opens]:
        names = " or ".join(repr(chr(byte)) for byte in opens)
        start = block[:20].decode("utf-8", "replace")
        raise HistoryError(f"this format begins with {names}, not with {start!r}", place="line 1")


def chunks(path: str, line_bytes_max: int) -> Iterator[tuple[bytes, bool]]:
    """Chunks of whole lines, and whether it is the last; only the last may end without a line end.

    Raises:
        HistoryError: a line longer than ``line_bytes_max``.
        OSError: it cannot be opened.
    """
    rest: list[bytes] = []  # the beginning of a line whose end is not read yet
    size = line = 0
    with Opened(path) as file:
        while block := file.read(BLOCK_BYTES):
            cut = block.rfind(b"\n") + 1
            if cut:
                whole_lines = b"".join([*rest, block[:cut]])
                line += whole_lines.count(b"\n")
                yield whole_lines, False
                rest, size = [block[cut:]], len(block) - cut
            else:
                rest.append(block)
                size += len(block)
            if size > line_bytes_max:
                long = f"{line_bytes_max >> 20} MB" if line_bytes_max >> 20 else "64 KB"
                raise HistoryError(
                    f"the line is longer than {long}; this is no history file",
                    place=f"line {line + 1}",
                )
    if size:
        yield b"".join(rest), True


def lines(path: str, line_bytes_max: int) -> Iterator[tuple[int, str]]:
    """The lines of a text file without their ends, numbered from 1.

    Bytes that are no UTF-8 stay distinct, as lone surrogates; see :func:`refuse_undecodable`.

    Raises:
        HistoryError: a line longer than ``line_bytes_max``.
        OSError: it cannot be opened.
    """
    number = 0
    for chunk, _ in chunks(path, line_bytes_max):
        texts = chunk.split(b"\n")
        if not texts[-1]:
            texts.pop()
        for text in texts:
            number += 1
            yield number, text.rstrip(b"\r").decode("utf-8", "surrogateescape")


def refuse_undecodable(text: str, number: int) -> None:
    """Refuse a line that means something and is no UTF-8.

    Raises:
        HistoryError: it has bytes that are none.
    """
    if not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text):
        raise HistoryError("the text is not UTF-8", place=f"line {number}")
