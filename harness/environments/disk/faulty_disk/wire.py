"""Messages between the kernel and a file system in user space (``linux/fuse.h``, protocol 7).

Each request read from ``/dev/fuse`` is a header and a body that depends on its operation; each
answer written there is a header with an error or zero, and a body. Only what this file system
answers is here; for the rest the answer is ENOSYS, and the kernel does without.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import NamedTuple

LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK = 8, 9, 10, 11, 12, 13
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 14, 15, 16, 17, 18, 20
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR = 25, 26, 27, 28, 29, 30
CREATE, INTERRUPT, DESTROY, BATCH_FORGET, FALLOCATE = 35, 36, 38, 42, 43
RENAME2, LSEEK = 45, 46

#: no answer is wanted to these
SILENT = frozenset({FORGET, BATCH_FORGET, INTERRUPT})

MAJOR, MINOR = 7, 31
ROOT = 1
WRITE_BYTES_MAX = 128 * 1024
REQUEST_BYTES_MAX = WRITE_BYTES_MAX + 4096
#: how long the kernel may cache an answer: files may be copied in from behind
VALID_S = 1

_ASYNC_READ, _ATOMIC_O_TRUNC, _BIG_WRITES, _PARALLEL_DIROPS = 1 << 0, 1 << 3, 1 << 5, 1 << 18
_FLAGS = _ASYNC_READ | _ATOMIC_O_TRUNC | _BIG_WRITES | _PARALLEL_DIROPS
_INVAL_INODE = 2

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<4Q2I")
_DIRENT = struct.Struct("<QQII")

INIT_IN = struct.Struct("<IIII")
SETATTR_IN = struct.Struct("<IIQQQQQQIIIIIIII")
MKNOD_IN = struct.Struct("<IIII")
MKDIR_IN = struct.Struct("<II")
RENAME2_IN = struct.Struct("<QII")
NUMBER_IN = struct.Struct("<Q")
OPEN_IN = struct.Struct("<II")
CREATE_IN = struct.Struct("<IIII")
HANDLE_IN = struct.Struct("<Q")
IO_IN = struct.Struct("<QQIIQII")
FSYNC_IN = struct.Struct("<QII")
FALLOCATE_IN = struct.Struct("<QQQII")
LSEEK_IN = struct.Struct("<QQII")
FORGET_ONE = struct.Struct("<QQ")

SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME = 1, 2, 4, 8, 16, 32
SET_HANDLE, SET_ATIME_NOW, SET_MTIME_NOW = 64, 128, 256


class Request(NamedTuple):
    """A request's header."""

    operation: int
    unique: int
    inode: int
    uid: int
    gid: int
    body: memoryview


def request(data: memoryview) -> Request:
    """A request as it was read."""
    _, operation, unique, inode, uid, gid, _, _, _ = _IN.unpack_from(data)
    return Request(operation, unique, inode, uid, gid, data[_IN.size :])


def answer(unique: int, body: bytes) -> list[bytes]:
    """An answer, in parts to write at once."""
    return [_OUT.pack(_OUT.size + len(body), 0, unique), body]


def refusal(unique: int, error: int) -> list[bytes]:
    """An error number as the answer."""
    return [_OUT.pack(_OUT.size, -error, unique)]


def forget_pages(inode: int) -> list[bytes]:
    """Tell the kernel that what it keeps of a file's content is not so any more."""
    body = struct.pack("<Qqq", inode, 0, -1)
    return [_OUT.pack(_OUT.size + len(body), _INVAL_INODE, 0), body]


def init(body: memoryview) -> bytes:
    """The answer to the kernel's first message."""
    _, _, readahead, offered = INIT_IN.unpack_from(body)
    numbers = (MAJOR, MINOR, readahead, offered & _FLAGS, 32, 24, WRITE_BYTES_MAX, 1)
    return struct.pack("<IIIIHHII", *numbers).ljust(64, b"\0")


def _times(found: os.stat_result) -> tuple[tuple[int, int], ...]:
    return tuple(
        divmod(ns, 10**9) for ns in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    )


def attributes(found: os.stat_result) -> bytes:
    """A file's attributes."""
    times = _times(found)
    return _ATTR.pack(
        *(found.st_ino, found.st_size, found.st_blocks),
        *(seconds & 0xFFFFFFFFFFFFFFFF for seconds, _ in times),
        *(ns for _, ns in times),
        *(found.st_mode, found.st_nlink, found.st_uid, found.st_gid),
        *(found.st_rdev & 0xFFFFFFFF, found.st_blksize, 0),
    )


def attributes_answer(found: os.stat_result) -> bytes:
    """Attributes, and how long they may be believed."""
    return struct.pack("<QII", VALID_S, 0, 0) + attributes(found)


def entry(inode: int, found: os.stat_result) -> bytes:
    """A directory's entry that was looked up or made."""
    return _ENTRY.pack(inode, 0, VALID_S, VALID_S, 0, 0) + attributes(found)


def opened(handle: int, flags: int = 0) -> bytes:
    """An open file."""
    return struct.pack("<QII", handle, flags, 0)


def written(size: int) -> bytes:
    """How much was written."""
    return struct.pack("<II", size, 0)


def directory_entry(inode: int, following: int, mode: int, name: bytes) -> bytes:
    """One entry of a listing; ``following`` is where the one after it begins."""
    record = _DIRENT.pack(inode, following, len(name), stat.S_IFMT(mode) >> 12) + name
    return record.ljust((len(record) + 7) & ~7, b"\0")


def space(found: os.statvfs_result, *, full: bool) -> bytes:
    """How much room there is; none at all if ``full``."""
    free, available = (0, 0) if full else (found.f_bfree, found.f_bavail)
    counts = (found.f_blocks, free, available, found.f_files, found.f_ffree)
    return struct.pack("<5Q4I24x", *counts, found.f_bsize, found.f_namemax, found.f_frsize, 0)


def names(body: memoryview, count: int = 1) -> list[bytes]:
    """The names, each ended by a zero byte, that a body is or ends with."""
    return bytes(body).split(b"\0")[:count]
