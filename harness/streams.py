"""Standard output and error, as every command has them: lost output never changes an exit code.

A reader may leave (``| head -1``), a disk may be full, a stream may be closed from the start, and a
terminal may know ASCII only. None of that is a finding about the system under test. So a command
runs to its end and its exit code is its verdict, even if its output was lost:

- what a stream does not take is dropped; of standard output that is said once, on standard error,
  but for a reader that left;
- a standard stream that is closed is opened on the null device, so that no file of the run can come
  to stand where a child process writes its output;
- characters that a terminal does not have are replaced, by like ones where there are any.

:func:`open_streams` is called by the command line before anything is printed.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
from typing import Any, TextIO

#: ASCII replacements of characters; any other character becomes "?".
_ASCII = {
    "✓": "+", "✗": "x", "…": "...", "–": "-", "—": "-", "→": "->", "←": "<-", "×": "x", "·": "-",
    "≤": "<=", "≥": ">=", "≠": "!=", "│": "|", "─": "-", "▸": ">", "•": "*", "µ": "u", "’": "'",
}  # fmt: skip

#: The codecs' name of the error handler that replaces them.
_REPLACING = "harness-replace"


class LossyStream(io.RawIOBase):
    """A file descriptor to write to; after the first error everything is dropped.

    Args:
        fd: the descriptor, of standard output or error.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd, self._lost = fd, False

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return not self._lost and os.isatty(self._fd)

    def write(self, data: Any) -> int:
        """Write what goes at once, or drop it all; returns how many bytes are dealt with."""
        while not self._lost:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:
                select.select([], [self._fd], [])
            except OSError as error:
                self._lost = True
                self._tell(error)
        return len(data)

    def _tell(self, error: OSError) -> None:
        """Say it on standard error, past its buffer: that one may be flushing just now."""
        if self._fd == 2 or error.errno == errno.EPIPE:
            return
        said = f"standard output cannot be written ({error.strerror}); the exit code stands"
        with contextlib.suppress(OSError):
            os.write(2, f"harness: {said}\n".encode())


def open_streams() -> None:
    """Put streams that never fail in the place of standard output and error. Idempotent."""
    codecs.register_error(_REPLACING, _replaced)
    for fd in (0, 1, 2):
        _open_if_closed(fd)
    sys.stdout = _lossy(sys.stdout, 1)
    sys.stderr = _lossy(sys.stderr, 2)


def _open_if_closed(fd: int) -> None:
    try:
        os.fstat(fd)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != fd:
            os.dup2(null, fd)
            os.close(null)
        os.set_inheritable(fd, True)


def _lossy(stream: TextIO | None, fd: int) -> TextIO:
    """A stream for the descriptor, in the encoding of the one it replaces."""
    if isinstance(getattr(getattr(stream, "buffer", None), "raw", None), LossyStream):
        assert stream is not None
        return stream
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.flush()
    raw = LossyStream(fd)
    by_line = fd == 2 or raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=_REPLACING,
        line_buffering=by_line,
        write_through=by_line,
    )


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Like characters for those that cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_ASCII.get(character, "?") for character in lost), error.end
