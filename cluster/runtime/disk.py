"""The real disk: a directory of files, in which nothing survives a SIGKILL that was not synced.

Problem: the operating system keeps written bytes when a process dies, so killing a process does not
test fsync at all; only a power cut would. Solution: bytes appended stay in this process until
``sync``, and names created, renamed or removed stay here until ``sync_dir``. A killed process then
loses exactly what a machine without power could lose, in every environment.

How: a created file gets a hidden name (``.new-…``) until ``sync_dir`` gives it its own, so an
unsynced creation is an orphan which the next start removes. Renames and removals are remembered and
done at ``sync_dir``, in order. A truncation is done at the next ``sync`` of the file.

Invariants: ``sync`` writes and flushes in one system call where the kernel can
(``pwritev2`` with ``RWF_DSYNC``), else ``pwrite`` and ``fdatasync``. Every failure is a
:class:`cluster.ports.DiskError`; the caller must stop, unless it is ``no_room``. One process per
directory: a lock is held.

The exception is ``overwrite``, which writes to mapped memory: a page that cannot be had (the file
was cut by another process, the disk fails when memory was short, a file system that copies on
write is full) ends the process with SIGBUS. That is a crash, at which nothing leaves, and
``cluster.__main__`` says where it was.

Faults for ``--enable-chaos`` are in ``disk_faults``. Used by the storage thread only.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cluster.ports import DiskError
from cluster.runtime.disk_faults import DiskFaults

_HIDDEN = "."
_ORPHAN = ".new-"
_LOCK = ".lock"
_DSYNC = getattr(os, "RWF_DSYNC", 0)


class DirectoryInUse(Exception):
    """Another process holds the data directory."""


class _File:
    """An open file: what the operating system has, and what only this process has.

    Args:
        fd: descriptor.
        os_name: its name in the directory, which may differ from the name it is known by.
        written: bytes of content the operating system has.
        room: preallocated size.
    """

    __slots__ = ("cut", "fd", "memory", "os_name", "pending", "pending_bytes", "room", "written")

    def __init__(self, fd: int, os_name: str, *, written: int, room: int) -> None:
        self.fd = fd
        self.os_name = os_name
        self.written = written
        self.room = room
        self.cut = False
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        #: the content as the operating system has it, of a file that is overwritten in place
        self.memory: mmap.mmap | None = None

    def overwrite(self, offset: int, data: bytes) -> None:
        """Replace bytes of the content, with no system call: none is worth the storage thread's
        wait for the interpreter that follows it while the event loop is busy.

        Raises:
            OSError: the file cannot be mapped.
        """
        end = offset + len(data)
        if self.memory is None or len(self.memory) < end:
            self.memory = mmap.mmap(self.fd, self.written)
        self.memory[offset:end] = data

    def close(self) -> None:
        """Let go of it."""
        if self.memory is not None:
            self.memory.close()
        os.close(self.fd)


def _failed(error: OSError, operation: str, name: str) -> DiskError:
    return DiskError(errno.errorcode.get(error.errno or 0, "EIO"), operation, name)


class FileDisk:
    """One node's directory; see :class:`cluster.ports.Disk` for the methods' contract.

    Args:
        root: the directory, created if it does not exist.
        faults: what to inject; none by default.

    Raises:
        DirectoryInUse: another process uses it.
        OSError: it cannot be created or opened.
    """

    def __init__(self, root: Path, *, faults: DiskFaults | None = None) -> None:
        self.faults = faults or DiskFaults()
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._lock = self._take_lock()
        self._files: dict[str, _File] = {}
        #: name of what is no file -> what using it as one fails with
        self._no_files: dict[str, str] = {}
        self._undone: list[Callable[[], None]] = []
        self._created = 0
        self._open_existing()

    def close(self) -> None:
        """Forget everything unsynced and let go of the directory."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        os.close(self._lock)
        os.close(self._directory)

    def names(self) -> list[str]:
        """Names of all files, sorted; with those of what is no file, and cannot be used as one."""
        return sorted((*self._files, *self._no_files))

    def read(self, name: str) -> bytes:
        """The whole file as this process sees it; of a file opened again, its room too."""
        file = self._file("read", name)
        try:
            content = _read_all(file.fd, file.written)
        except OSError as error:
            raise _failed(error, "read", name) from error
        return b"".join((content, *file.pending))

    def create(self, name: str, *, preallocate_bytes: int = 0) -> None:
        """Create an empty file with zero-filled room."""
        self.faults.before_growing("create", name)
        self._refuse_no_file("create", name)
        if name in self._files:
            raise DiskError("EEXIST", "create", name)
        self._created += 1
        os_name = f"{_ORPHAN}{self._created}-{name}"
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            fd = os.open(os_name, flags, 0o600, dir_fd=self._directory)
            if preallocate_bytes:
                self._allocate(fd, preallocate_bytes)
        except OSError as error:
            self._forget_created(os_name)
            raise _failed(error, "create", name) from error
        file = _File(fd, os_name, written=0, room=preallocate_bytes)
        self._files[name] = file
        self._undone.append(lambda: self._link(file, name))

    def append(self, name: str, data: bytes) -> None:
        """Add bytes at the end of the content; they stay in this process until ``sync``."""
        file = self._file("append", name)
        if file.written + file.pending_bytes + len(data) > file.room:
            self.faults.before_growing("append", name)
        else:
            self.faults.before_writing("append", name)
        file.pending.append(data)
        file.pending_bytes += len(data)
        if self.faults.torn and not file.cut:
            self._leak(file, name)

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        """Replace bytes at once, in the operating system's memory: a kill does not take them."""
        self.faults.before_writing("overwrite", name)
        file = self._file("overwrite", name)
        if not 0 <= offset <= file.written - len(data):
            raise DiskError("EINVAL", "overwrite", name)
        try:
            if data:
                file.overwrite(offset, data)
        except OSError as error:
            raise _failed(error, "overwrite", name) from error

    def truncate(self, name: str, size_bytes: int) -> None:
        """Cut the content to this many bytes; the room stays and is zero."""
        self.faults.before_writing("truncate", name)
        file = self._file("truncate", name)
        content = b"".join(file.pending)[: max(0, size_bytes - file.written)]
        file.pending, file.pending_bytes = ([content], len(content)) if content else ([], 0)
        if size_bytes < file.written:
            file.room = max(file.room, file.written)
            file.written, file.cut = size_bytes, True

    def sync(self, name: str) -> None:
        """Write what is pending and make the file's content durable."""
        file = self._file("sync", name)
        self.faults.before_sync(name)
        if file.pending and file.written + file.pending_bytes > file.room:
            self.faults.before_growing("sync", name)
        try:
            if file.cut:
                self._cut(file)
            if file.pending:
                self._flush(file)
            else:
                os.fdatasync(file.fd)
        except OSError as error:
            raise _failed(error, "sync", name) from error

    def sync_dir(self) -> None:
        """Do the creations, renames and removals so far, in order, and make them durable."""
        self.faults.before_writing("sync_dir", ".")
        try:
            for action in self._undone:
                action()
            self._undone.clear()
            os.fsync(self._directory)
        except OSError as error:
            concerned = error.filename2 or error.filename or "."
            raise _failed(error, "sync_dir", concerned) from error

    def rename(self, old: str, new: str) -> None:
        """Rename atomically, replacing ``new`` if it exists."""
        self.faults.before_writing("rename", old)
        file = self._file("rename", old)
        self._refuse_no_file("rename", new)
        del self._files[old]
        replaced = self._files.get(new)
        if replaced is not None:
            replaced.close()
        self._files[new] = file
        self._undone.append(lambda: self._link(file, new))

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.faults.before_writing("remove", name)
        file = self._file("remove", name)
        del self._files[name]
        file.close()
        self._undone.append(lambda: os.unlink(file.os_name, dir_fd=self._directory))

    def has_room(self, size_bytes: int) -> bool:
        """Whether a file of this size could be created now. May be called from any thread."""
        if self.faults.settings.full:
            return False
        try:
            found = os.fstatvfs(self._directory)
        except OSError:  # an operation on the disk will say it
            return True
        return found.f_bavail * found.f_frsize >= size_bytes

    def felt_full(self) -> None:
        """Something was refused for want of room."""
        self.faults.felt_full()

    def flip_bit(self, *, spare_bytes: int = 4096) -> str | None:
        """Flip one bit of the log or a snapshot on the disk, never near the end of the content.

        Returns:
            ``file:byte``, or None if no file is long enough. May be called from any thread.
        """
        place = None
        try:
            files = {n: (f.fd, f.written) for n, f in list(self._files.items())}
            sizes = {n: len(_read_all(*f).rstrip(b"\0")) for n, f in sorted(files.items())}
            place = self.faults.choose_flip(sizes, spare_bytes=spare_bytes)
            if place is not None:
                name, offset, mask = place
                fd = files[name][0]
                os.pwrite(fd, bytes([os.pread(fd, 1, offset)[0] ^ mask]), offset)
                os.fdatasync(fd)
        except OSError:  # the file went away meanwhile
            return None
        return f"{place[0]}:{place[1]}" if place is not None else None

    def _take_lock(self) -> int:
        lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._directory)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            os.close(self._directory)
            raise DirectoryInUse(
                f"data directory {str(self._root)!r} is in use by another process"
            ) from None
        return lock

    def _open_existing(self) -> None:
        for name in sorted(os.listdir(self._directory)):
            if name.startswith(_ORPHAN):
                os.unlink(name, dir_fd=self._directory)
            elif name.startswith(_HIDDEN):
                continue
            elif not (self._root / name).is_file():
                self._no_files[name] = "EISDIR" if (self._root / name).is_dir() else "EINVAL"
            else:
                fd = os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._directory)
                size = os.fstat(fd).st_size
                self._files[name] = _File(fd, name, written=size, room=size)

    def _file(self, operation: str, name: str) -> _File:
        self._refuse_no_file(operation, name)
        try:
            return self._files[name]
        except KeyError:
            raise DiskError("ENOENT", operation, name) from None

    def _refuse_no_file(self, operation: str, name: str) -> None:
        if name in self._no_files:
            raise DiskError(self._no_files[name], operation, name)

    @staticmethod
    def _allocate(fd: int, size_bytes: int) -> None:
        try:
            os.posix_fallocate(fd, 0, size_bytes)
        except OSError:
            os.close(fd)
            raise

    def _forget_created(self, os_name: str) -> None:
        with suppress(OSError):
            os.unlink(os_name, dir_fd=self._directory)

    def _link(self, file: _File, name: str) -> None:
        if file.os_name != name:
            directory = self._directory
            os.rename(file.os_name, name, src_dir_fd=directory, dst_dir_fd=directory)
            file.os_name = name

    def _cut(self, file: _File) -> None:
        os.ftruncate(file.fd, file.written)
        if file.room > file.written:
            os.posix_fallocate(file.fd, 0, file.room)
        file.cut = False

    def _flush(self, file: _File) -> None:
        data = file.pending[0] if len(file.pending) == 1 else b"".join(file.pending)
        if _DSYNC:
            done = os.pwritev(file.fd, [data], file.written, _DSYNC)
        else:
            done = os.pwrite(file.fd, data, file.written)
        if done < len(data) or not _DSYNC:
            _write_all(file.fd, data, done, file.written)
            os.fdatasync(file.fd)
        file.written += len(data)
        file.pending, file.pending_bytes = [], 0

    def _leak(self, file: _File, name: str) -> None:
        """A pending torn write: part of the unsynced bytes reaches the disk already."""
        data = b"".join(file.pending)
        part = self.faults.leaked_bytes(file.written, len(data))
        try:
            if part:
                os.pwrite(file.fd, data[:part], file.written)
        except OSError as error:
            raise _failed(error, "append", name) from error


def _read_all(fd: int, size: int) -> bytes:
    chunks: list[bytes] = []
    offset = 0
    while offset < size:
        chunk = os.pread(fd, size - offset, offset)
        if not chunk:
            break
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def _write_all(fd: int, data: bytes, done: int, start: int) -> None:
    while done < len(data):
        done += os.pwrite(fd, data[done:], start + done)
