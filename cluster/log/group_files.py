"""Group files: the files of many groups on one disk, distinguished by their names.

A file of a group is called ``<group>@<name>``, where the name is what the group's own storage calls
it. Files of the node itself, such as its identity, have no group.

Used by ``group_storage``, and by every module that looks at a node's files.
"""

from __future__ import annotations

from zlib import crc32

from cluster.ports import Disk

#: Between a group's name and the name of its file.
GROUP_MARK = "@"


def group_of(file: str) -> str:
    """The group that a file belongs to; "" if it belongs to none."""
    group, mark, _ = file.partition(GROUP_MARK)
    return group if mark else ""


def salt_of(group: str) -> int:
    """A number of the group by which its files differ from those of other groups: the CRC-32 of its
    name."""
    return crc32(group.encode())


def within_group(file: str) -> str:
    """A file's name as its group's storage has it; of a file of no group, the name itself."""
    return file.rpartition(GROUP_MARK)[2]


class GroupDisk:
    """One group's files on a disk, under the names they have within the group.

    Args:
        disk: the node's.
        group: the group's name.

    Raises:
        ValueError: the name is empty, or has a character that no file's name may have.
    """

    __slots__ = ("_before", "_disk")

    def __init__(self, disk: Disk, group: str) -> None:
        if not group or any(each in group for each in (GROUP_MARK, "/", "\0")):
            raise ValueError(f"group is {group!r}: it must be a name without {GROUP_MARK!r} or '/'")
        self._disk = disk
        self._before = group + GROUP_MARK

    def names(self) -> list[str]:
        """Names of the group's files, sorted."""
        length = len(self._before)
        return [name[length:] for name in self._disk.names() if name.startswith(self._before)]

    def read(self, name: str) -> bytes:
        """The whole file."""
        return self._disk.read(self._before + name)

    def create(self, name: str, *, preallocate_bytes: int = 0) -> None:
        """Create an empty file."""
        self._disk.create(self._before + name, preallocate_bytes=preallocate_bytes)

    def append(self, name: str, data: bytes) -> None:
        """Add bytes at the end."""
        self._disk.append(self._before + name, data)

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        """Replace bytes within the content."""
        self._disk.overwrite(self._before + name, offset, data)

    def truncate(self, name: str, size_bytes: int) -> None:
        """Cut the content."""
        self._disk.truncate(self._before + name, size_bytes)

    def sync(self, name: str) -> None:
        """Make the file's content durable."""
        self._disk.sync(self._before + name)

    def sync_dir(self) -> None:
        """Make creations, renames and removals durable."""
        self._disk.sync_dir()

    def rename(self, old: str, new: str) -> None:
        """Rename atomically."""
        self._disk.rename(self._before + old, self._before + new)

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._disk.remove(self._before + name)
