"""A small file with its checksum: what was read is what was written, or the node does not start.

Problem: the files that say who a node is, and whom it has met, are read once and believed. One bit
turned in the list of founders can give a node two voters of one name, and so a majority of one.

Solution: one line of content, then a line with its CRC. A file of an earlier version has no second
line, and is read as it is.

Used by ``data_directory`` and ``peer_directories``; pure.
"""

from __future__ import annotations

from zlib import crc32


class DamagedFile(ValueError):
    """A file is not what was written; the sentence names it, and where.

    Args:
        name: the file.
        offset: byte at which the damage begins, as far as can be told.
        reason: what is wrong.
    """

    def __init__(self, name: str, offset: int, reason: str) -> None:
        super().__init__(f"{name} is damaged at byte {offset}: {reason}")


def seal(line: bytes) -> bytes:
    """The bytes of a file with this content, which has no line end in it."""
    assert b"\n" not in line, "the content is one line"
    return b"%b\n%b\n" % (line, _checksum(line))


def unseal(name: str, data: bytes) -> bytes:
    """The content of a file.

    Args:
        name: the file's, for the error.
        data: its bytes.

    Raises:
        DamagedFile: it does not match its checksum, or is empty.
    """
    line, _, rest = data.partition(b"\n")
    if not line:
        raise DamagedFile(name, 0, "it is empty")
    if rest and rest != _checksum(line) + b"\n":
        raise DamagedFile(name, 0, "its first line does not match its CRC")
    return line


def _checksum(line: bytes) -> bytes:
    return b"crc32 %08x" % crc32(line)
