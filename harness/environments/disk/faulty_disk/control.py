"""Asking a disk's server: one line of JSON there, one back, over a socket with no file.

The socket's name is abstract, so nothing of it is left when its server is gone. Only the user whom
the server runs as (and root) is answered.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

_PEER = struct.Struct("3i")


def ask(name: str, request: dict[str, Any], *, timeout_s: float = 10.0) -> dict[str, Any]:
    """Ask the server of this name.

    Raises:
        OSError: there is none, or it does not answer.
        ValueError: it says that the request is wrong.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(f"\0{name}")
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as lines:
            answer: dict[str, Any] = json.loads(lines.readline() or b"{}")
    if "wrong" in answer:
        raise ValueError(answer["wrong"])
    return answer


def listen(name: str) -> socket.socket:
    """A socket at which requests arrive.

    Raises:
        OSError: the name is taken.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen(8)
    return listener


def trusted(connection: socket.socket) -> bool:
    """Whether who asks is the user this process runs as, or root."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return _PEER.unpack(raw)[1] in (0, os.getuid())
