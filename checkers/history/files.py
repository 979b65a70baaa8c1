"""Opening history files: compressed or not, with or without a byte order mark.

A file that begins with the magic bytes of gzip, bzip2, xz or (where Python has a module for it)
Zstandard is decompressed as it is read, whatever its name; a UTF-8 byte order mark is passed over.
An error in the middle (a truncated or damaged archive) is a :class:`HistoryError` like any
other defect of a history. Every reader here is bounded: a file that is no history costs neither its
size in memory nor more than a look at its beginning.

For the loaders of this package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import IO

from checkers.core.budget import BudgetSpent, current
from checkers.core.regular_files import open_regular
from checkers.history.errors import HistoryError

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"

#: Magic bytes -> the archive's name, and modules that may open it, with the function.
_PACKED = {
    GZIP: ("gzip", [("gzip", "open")]),
    b"BZh": ("bzip2", [("bz2", "open")]),
    b"\xfd7zXZ\x00": ("xz", [("lzma", "open")]),
    b"\x28\xb5\x2f\xfd": ("Zstandard", [("compression.zstd", "open"), ("zstandard", "open")]),
}
_MAGIC_BYTES = max(map(len, _PACKED))

#: How a text begins that is not read -> what is said.
_FOREIGN = {
    b"\xff\xfe": "the text is UTF-16; make it UTF-8, with `iconv -f UTF-16 -t UTF-8`",
    b"\xfe\xff": "the text is UTF-16; make it UTF-8, with `iconv -f UTF-16 -t UTF-8`",
    b"PK\x03\x04": "the file is a zip archive; unpack it, and give the history in it",
}

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

    def __init__(self, file: IO[bytes], magic: bytes) -> None:
        self._raw = file
        self._packing, self._file = _unpacked(file, magic)
        self._head = b""
        head = self._read(max(len(BOM), *map(len, _FOREIGN)))
        for begins, said in _FOREIGN.items():
            if head.startswith(begins):
                raise HistoryError(said)
        self._head = head.removeprefix(BOM)

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
            raise HistoryError(
                f"the {self._packing} archive ends too early; it may be cut"
            ) from None
        except Exception as error:  # unpackers raise errors of many kinds
            if not self._packing or (isinstance(error, OSError) and error.errno):
                raise
            raise HistoryError(f"the {self._packing} archive is damaged: {error}") from None


def _unpacked(file: IO[bytes], magic: bytes) -> tuple[str, IO[bytes]]:
    """The archive's name, empty for none, and a file of what it holds.

    Raises:
        HistoryError: Python has no module for such an archive.
    """
    for begins, (name, openers) in _PACKED.items():
        if magic.startswith(begins):
            for module, attribute in openers:
                try:
                    return name, getattr(import_module(module), attribute)(file)
                except ImportError:
                    continue
            raise HistoryError(
                f"the file is a {name} archive, which cannot be read here; unpack it"
            )
    return "", file


class Opened:
    """A context manager around :class:`_Reader`.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> _Reader:
        self._file = open_regular(self._path)
        try:
            magic = self._file.read(_MAGIC_BYTES)
            self._file.seek(0)
            return _Reader(self._file, magic)
        except BaseException:  # of any kind: __exit__ is not called
            self._file.close()
            raise

    def __exit__(self, *rest: object) -> None:
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


class End:
    """How a text file ends: ``cut`` is true at a last line that has no line end."""

    cut = False


def cut_note(place: str) -> str:
    """The note of a file which ends within its last operation."""
    return (
        f"The file is cut in its last operation ({place}), which is left out: the history is "
        "checked as far as it goes."
    )


def unended_note(number: int) -> str:
    """The note of a file whose last line, numbered so, reads well but has no line end."""
    return f"Line {number}, the last, has no end: if the file is cut there, so may be its value."


def lines(path: str, line_bytes_max: int, end: End | None = None) -> Iterator[tuple[int, str]]:
    """The lines of a text file without their ends, numbered from 1.

    Bytes that are no UTF-8 stay distinct, as lone surrogates; see :func:`refuse_undecodable`.

    Args:
        path: the file.
        line_bytes_max: the longest line there may be.
        end: called with how the file ends, before its last line is given.

    Raises:
        HistoryError: a line longer than ``line_bytes_max``.
        OSError: it cannot be opened.
    """
    number = 0
    for chunk, cut in chunks(path, line_bytes_max):
        if end is not None:
            end.cut = cut
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
