"""Inodes and open files of the directory behind the mount.

The kernel names files by numbers which it learned from us and forgets again, and expects that a
number stays the same file through renames and after the last name is gone. So each number stands
for a file descriptor opened with ``O_PATH``, which has just that property, and whose
``/proc/self/fd`` entry can be opened, resized and have its owner changed.
"""

from __future__ import annotations

import os
import stat
import threading

from . import wire

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Inode:
    """A file the kernel knows of."""

    __slots__ = ("fd", "key", "lookups")

    def __init__(self, fd: int, key: tuple[int, int]) -> None:
        self.fd, self.key, self.lookups = fd, key, 0

    @property
    def path(self) -> str:
        """Where it can be opened, also after it was renamed."""
        return f"/proc/self/fd/{self.fd}"


class Tree:
    """The inodes that the kernel knows. Any thread may call.

    Args:
        root: descriptor of the directory that is served.
    """

    def __init__(self, root: int) -> None:
        found = os.stat(root)
        self._lock = threading.Lock()
        self._inodes = {wire.ROOT: Inode(root, (found.st_dev, found.st_ino))}
        self._inodes[wire.ROOT].lookups = 1
        self._numbers = {self._inodes[wire.ROOT].key: wire.ROOT}
        self._next = wire.ROOT + 1

    def inode(self, number: int) -> Inode:
        """The inode of a number; KeyError if the kernel never got it."""
        return self._inodes[number]

    def number_of(self, key: tuple[int, int]) -> int | None:
        """The number the kernel knows a file by, if it knows it."""
        return self._numbers.get(key)

    def look_up(self, parent: int, name: bytes) -> bytes:
        """Find a name in a directory; the answer to the kernel, which then knows one more."""
        fd = os.open(name, _PATH, dir_fd=self.inode(parent).fd)
        found = os.stat(fd)
        key = (found.st_dev, found.st_ino)
        with self._lock:
            number = self._numbers.get(key)
            if number is None:
                number, self._next = self._next, self._next + 1
                self._numbers[key] = number
                self._inodes[number] = Inode(fd, key)
            else:
                os.close(fd)
            self._inodes[number].lookups += 1
        return wire.entry(number, found)

    def forget(self, number: int, lookups: int) -> None:
        """The kernel needs so many of its references to a number no longer."""
        with self._lock:
            found = self._inodes.get(number)
            if found is None or number == wire.ROOT:
                return
            found.lookups -= lookups
            if found.lookups <= 0:
                del self._inodes[number], self._numbers[found.key]
                os.close(found.fd)

    def listing(self, directory: int) -> list[tuple[bytes, int, int]]:
        """Name, inode and mode of everything in an open directory."""
        here = os.fstat(directory).st_ino
        found = [(b".", here, stat.S_IFDIR), (b"..", here, stat.S_IFDIR)]
        with os.scandir(directory) as entries:
            for each in entries:
                mode = stat.S_IFLNK if each.is_symlink() else stat.S_IFREG
                if each.is_dir(follow_symlinks=False):
                    mode = stat.S_IFDIR
                found.append((os.fsencode(each.name), each.inode(), mode))
        return found

    def extents(self) -> list[tuple[str, int, int]]:
        """Where regular files hold something: path from the root, begin, end."""
        found = []
        for name, size in self.files():
            try:
                fd = os.open(os.path.join(self.inode(wire.ROOT).path, name), os.O_RDONLY)
            except OSError:
                continue
            try:
                end = 0
                while end < size:
                    begin = os.lseek(fd, end, os.SEEK_DATA)
                    end = os.lseek(fd, begin, os.SEEK_HOLE)
                    found.append((name, begin, end))
            except OSError:
                # No data after this place: the rest is reserved only.
                pass
            finally:
                os.close(fd)
        return found

    def files(self) -> list[tuple[str, int]]:
        """Every regular file that is not empty, as a path from the root, with its size."""
        found = []
        root = self.inode(wire.ROOT).path
        for place, _, names in os.walk(root):
            for name in names:
                path = os.path.join(place, name)
                try:
                    entry = os.lstat(path)
                except OSError:
                    continue
                if stat.S_ISREG(entry.st_mode) and entry.st_size:
                    found.append((os.path.relpath(path, root), entry.st_size))
        return sorted(found)
