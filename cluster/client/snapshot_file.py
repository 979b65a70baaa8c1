"""The file of ``snapshot save``: all keys at one revision, and how to know that it is whole.

Lines of JSON, in UTF-8:

    {"format": "splitbrain-keys", "version": 1, "revision": 41}     what it is, and as of when
    {"key": "config/a", "value": 1}                                 a line for each key, in order
    {"keys": 1, "sha256": "..."}                                    of all bytes before this line

The last line is written last, so a file that was torn anywhere has none, or one that is not true of
it. A file that is saved has another name until it is whole: under its own name there is all of it
or nothing.

A snapshot holds keys and values. It does not hold leases, sessions or older versions; restored keys
have revisions of their own and no lease. ``snapshot save`` leaves out keys attached to a lease,
since without its lease it would never end, and a lock that was held would be taken for ever.

Used by ``cluster.client.words``.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Any

FORMAT, VERSION = "splitbrain-keys", 1


class BadSnapshot(ValueError):
    """A file is no whole snapshot; the message names the file, and says why."""


class SnapshotWriter:
    """Writes a snapshot, as a context: a file of this name appears when all went well.

    Args:
        file: its name; there must be no such file.
        revision: of all its keys.

    Raises:
        FileExistsError: there is such a file.
        OSError: it cannot be written.
    """

    def __init__(self, file: Path, revision: int) -> None:
        if file.exists():
            raise FileExistsError(17, "there is such a file already", str(file))
        self._file, self._partial = file, file.with_name(file.name + ".partial")
        self._out = self._partial.open("wb")
        self._hash = hashlib.sha256()
        self.keys = 0
        self._write({"format": FORMAT, "version": VERSION, "revision": revision})

    def add(self, key: str, value: Any) -> None:
        """One key more."""
        self._write({"key": key, "value": value})
        self.keys += 1

    def _write(self, row: dict[str, Any]) -> None:
        line = json.dumps(row).encode() + b"\n"
        self._hash.update(line)
        self._out.write(line)

    def __enter__(self) -> SnapshotWriter:
        """The writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Finish the file; after an error, leave none."""
        try:
            if kind is None:
                self._write({"keys": self.keys, "sha256": self._hash.hexdigest()})
                self._out.flush()
                os.fsync(self._out.fileno())
                self._partial.rename(self._file)
        finally:
            self._out.close()
            self._partial.unlink(missing_ok=True)


def read_snapshot(file: Path) -> tuple[int, list[tuple[str, Any]]]:
    """The revision of a snapshot, and its keys and values, once all of it is verified.

    Raises:
        BadSnapshot: it is no snapshot, of a version that is not known, or not whole.
        OSError: it cannot be read.
    """
    data = _regular(file)
    lines = data.split(b"\n")
    header = _row(lines[0])
    if header.get("format") != FORMAT:
        raise BadSnapshot(f"{file} is no snapshot of keys: it does not begin as one")
    if header.get("version") != VERSION:
        raise BadSnapshot(
            f"{file} is a snapshot of version {header.get('version')!r}, and this client reads "
            f"version {VERSION}"
        )
    if lines[-1] or len(lines) < 3 or "sha256" not in (footer := _row(lines[-2])):
        raise BadSnapshot(f"{file} is torn: its last line, with the checksum, is missing")
    body = data[: len(data) - len(lines[-2]) - 1]
    if hashlib.sha256(body).hexdigest() != footer["sha256"]:
        raise BadSnapshot(f"{file} is damaged: its bytes do not have the checksum that it names")
    rows = [_row(line) for line in lines[1:-2]]
    if len(rows) != footer.get("keys"):
        raise BadSnapshot(
            f"{file} is damaged: it names {footer.get('keys')!r} keys and has {len(rows)}"
        )
    return header["revision"], [(row["key"], row["value"]) for row in rows]


def _regular(file: Path) -> bytes:
    """The bytes of a regular file: a pipe would be waited for, and a device has no end.

    Raises:
        BadSnapshot: it is something else.
        OSError: it cannot be read.
    """
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
        kind = os.fstat(opened.fileno()).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise BadSnapshot(f"{file} is no regular file")
        return opened.read()


def _row(line: bytes) -> dict[str, Any]:
    """A line; empty if it is none of ours."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if type(row) is dict else {}
