"""The owner of a TCP socket, from ``/proc/net/tcp`` and ``/proc/<pid>/fd``.

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
#: the address that stands for all
ANY = "0.0.0.0"


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
    """Every listening TCP socket that IPv4 reaches: address, port, inode.

    The kernel is asked for listening sockets alone (a hundred times quicker than its text table on
    a machine with many connections); where it does not answer that, the table is read.
    """
    try:
        return [*_asked(socket.AF_INET), *_asked(socket.AF_INET6)]
    except OSError:
        return [(*_unpacked(row[1]), int(row[9])) for row in _rows() if row[3] == _LISTEN]


#: of Linux: netlink's protocol for sockets, its request, and what ends its answer
_SOCK_DIAG, _BY_FAMILY, _ERROR, _DONE = 4, 20, 2, 3
_REQUEST_DUMP = 0x301
_STATE_LISTEN = 1 << 10
_HEADER = struct.Struct("=IHHII")
#: offsets in an answer, after its header: port, address, inode
_PORT_AT, _ADDRESS_AT, _INODE_AT = 4, 8, 68


def _asked(family: int) -> Iterator[tuple[str, int, int]]:
    """Listening TCP sockets of a family, by the kernel's sock_diag; see sock_diag(7)."""
    question = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, _STATE_LISTEN)
    header = _HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as asking:
        asking.settimeout(1.0)
        asking.send(header + question)
        while True:
            answer, at = asking.recv(1 << 17), 0
            while at < len(answer):
                size, kind, _, _, _ = _HEADER.unpack_from(answer, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("the kernel does not list sockets by sock_diag")
                yield _listener(family, answer[at + _HEADER.size : at + size])
                at += (size + 3) & ~3


def _listener(family: int, row: bytes) -> tuple[str, int, int]:
    length = 4 if family == socket.AF_INET else 16
    host = socket.inet_ntop(family, row[_ADDRESS_AT : _ADDRESS_AT + length])
    host = ANY if host == "::" else host.removeprefix("::ffff:")
    (port,) = struct.unpack_from(">H", row, _PORT_AT)
    (inode,) = struct.unpack_from("=I", row, _INODE_AT)
    return host, port, inode


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
        inode for host, number, inode in listening() if number == port and host in (address, ANY)
    ]
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return next((pid for inode in inodes if (pid := holder(inode, pids))), 0)
