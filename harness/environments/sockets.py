"""Who owns a TCP socket, from ``/proc/net/tcp`` and ``/proc/<pid>/fd``.

The problem: on loopback every process dials from 127.0.0.1, so a proxy before a node cannot see
from the address who dials it. The solution: the kernel lists every connection with the inode of its
socket, and every process's open descriptors name their sockets' inodes. One read of the table and a
scan of the few processes of the run gives the owner, once per accepted connection.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator

_LISTEN = "0A"


def _packed(address: str, port: int) -> str:
    """An address as the kernel prints it: hexadecimal in host byte order, then the port."""
    (number,) = struct.unpack("=I", socket.inet_aton(address))
    return f"{number:08X}:{port:04X}"


def _unpacked(text: str) -> tuple[str, int]:
    number, _, port = text.partition(":")
    return socket.inet_ntoa(struct.pack("=I", int(number, 16))), int(port, 16)


def _rows() -> Iterator[list[str]]:
    with open("/proc/net/tcp", encoding="ascii") as file:
        next(file)
        for line in file:
            yield line.split()


def inode_of(local: tuple[str, int], remote: tuple[str, int]) -> int:
    """Inode of the socket with these two ends, or 0 if there is none."""
    wanted = (_packed(*local), _packed(*remote))
    for row in _rows():
        if (row[1], row[2]) == wanted:
            return int(row[9])
    return 0


def listening() -> list[tuple[str, int, int]]:
    """Every listening IPv4 TCP socket: address, port, inode."""
    return [(*_unpacked(row[1]), int(row[9])) for row in _rows() if row[3] == _LISTEN]


def holds(pid: int, inode: int) -> bool:
    """Whether the process has this socket open."""
    wanted = f"socket:[{inode}]"
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    if os.readlink(entry.path) == wanted:
                        return True
                except OSError:
                    continue
    except OSError:
        return False
    return False


def holder(inode: int, pids: Iterable[int]) -> int:
    """The first of these processes which has the socket open, or 0."""
    return next((pid for pid in pids if inode and holds(pid, inode)), 0)


def port_taken(address: str, port: int) -> bool:
    """Whether nothing can listen there now (a TIME_WAIT left by a dead server is no obstacle)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return True
    return False


def port_owner(address: str, port: int) -> int:
    """Pid of who listens on this port of this address (or of all addresses), or 0."""
    inodes = [
        inode
        for host, number, inode in listening()
        if number == port and host in (address, "0.0.0.0")
    ]
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return next((pid for inode in inodes if (pid := holder(inode, pids))), 0)
