"""Opening files from elsewhere: regular files only, and never through a link out of a run.

Goal: what a folder from a stranger holds cannot hang a reader, fill its memory, or show it a file
from elsewhere. A FIFO waits for a writer for ever, ``/dev/zero`` has no end, and a symbolic link in
a run's directory may lead to a private key, whose bytes a report would then carry.

So a file is opened without waiting and looked at before its first byte is read; what is no regular
file is an OSError with a sentence. Below a run's directory no component may be a symbolic link.
Files are written under a fresh name, which no link can wait at, and moved to their place.

For everything that reads or writes the files of a run or a history.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_regular(
    path: str | os.PathLike[str], *, below: str | os.PathLike[str] | None = None
) -> IO[bytes]:
    """Open a regular file for reading, without waiting.

    Args:
        path: the file.
        below: a directory in which it must lie, with no symbolic link on the way from there.

    Raises:
        OSError: there is none, it cannot be opened, is no regular file or is behind a link;
            ``strerror`` says which.
    """
    name = os.fspath(path)
    try:
        if below is None:
            found = os.open(name, _READ)
        else:
            with folder_of(name, below) as (folder, last):
                found = os.open(last, _READ | os.O_NOFOLLOW, dir_fd=folder)
    except ValueError as error:  # a NUL, or a lone surrogate
        raise OSError(errno.EINVAL, f"no file can have this name ({error})", name) from None
    except OSError as error:
        raise _said(error, name) from None
    try:
        _require_regular(os.fstat(found).st_mode, name)
        return os.fdopen(found, "rb")
    except BaseException:
        os.close(found)
        raise


def _require_regular(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(mode):
        kind = next((words for is_so, words in _KINDS if is_so(mode)), "something else")
        raise OSError(errno.EINVAL, f"it is {kind} and no regular file", name)


def _said(error: OSError, name: str) -> OSError:
    """The same error with the whole path, and a symbolic link by its name."""
    words = error.strerror
    if error.errno == errno.ELOOP:
        words = "it is a symbolic link, which is not followed here"
    return OSError(error.errno, words, name)


def read_regular(
    path: str | os.PathLike[str],
    *,
    limit: int,
    below: str | os.PathLike[str] | None = None,
) -> bytes:
    """All bytes of a regular file.

    Args:
        path: the file.
        limit: most bytes it may have.
        below: as for :func:`open_regular`.

    Raises:
        OSError: as for :func:`open_regular`, or it is larger.
    """
    with open_regular(path, below=below) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        size = f"{limit >> 20} MB" if limit >> 20 else f"{limit} bytes"
        raise OSError(errno.EFBIG, f"it is larger than {size}", os.fspath(path))
    return data


@contextlib.contextmanager
def folder_of(
    path: str | os.PathLike[str], below: str | os.PathLike[str]
) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder a file lies in, reached without a link, and the file's last name.

    Args:
        path: the file.
        below: the directory in which it must lie.

    Raises:
        OSError: it lies elsewhere, or a folder on the way is a link or none.
    """
    parts = parts_below(path, below)
    folder = os.open(below, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, parts[-1]
    finally:
        os.close(folder)


def parts_below(path: str | os.PathLike[str], below: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names from a directory to what is in it, as both paths are written.

    Both may be relative: they count from the working directory, as for ``open``.

    Raises:
        OSError: the path is not below the directory.
    """
    name, root = os.fspath(path), Path(below).absolute()
    whole = Path(name).absolute()
    parts = whole.parts[len(root.parts) :]
    if whole.parts[: len(root.parts)] != root.parts or not parts or ".." in parts or "\0" in name:
        raise OSError(errno.EINVAL, f"it is not in {str(root)!r}", name)
    return parts


def is_below(path: str | os.PathLike[str], below: str | os.PathLike[str]) -> bool:
    """Whether a path lies in a directory, with no symbolic link in between or at its end."""
    try:
        with folder_of(path, below) as (folder, last):
            return _is_no_link(folder, last)
    except (OSError, ValueError):
        return False


def _is_no_link(folder: int, name: str) -> bool:
    """Whether it is there and no symbolic link; a dead mount answers this and no other question."""
    try:
        os.readlink(name, dir_fd=folder)
    except OSError as error:
        return error.errno == errno.EINVAL
    return False


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file in one step, whole or not at all; a link in its place is replaced, not followed.

    Raises:
        OSError: it cannot be written.
    """
    folder, name = os.path.split(os.fspath(path))
    fresh = os.path.join(folder, f".{name}.{secrets.token_hex(8)}")
    made = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(made, "wb") as file:
            file.write(data)
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise
