"""Loopback addresses of a local run: a block of 256 which no other run on the machine has.

All of 127.0.0.0/8 is the machine itself, so every node can have an address of its own and all nodes
the same port numbers. A run takes one block ``127.A.B``. In it the last number says who and how:

    127.A.B.j            node j itself, j from 1 to 14; clients dial this
    127.A.B.(16*i + j)   the directed link from node i to node j; node i dials this
    127.A.B.(240 + j)    node j for all, for systems that announce one address to all peers

The block comes from the run's name, so that a run's addresses are the same when it is looked at
again, and is claimed by holding a UDP port of it, so that two runs at a time never share one.
"""

from __future__ import annotations

import hashlib
import socket

from harness.errors import SetupError, UsageError

NODES_MAX = 14
_CLAIM_PORT = 31_999
_BLOCKS = 200 * 256


def node_address(block: str, index: int) -> str:
    """Address of node number ``index``, from 1."""
    return f"{block}.{index}"


def link_address(block: str, source: int, target: int) -> str:
    """Address at which node ``source`` dials node ``target``."""
    return f"{block}.{16 * source + target}"


def announced_address(block: str, target: int) -> str:
    """Address at which every node dials node ``target``."""
    return f"{block}.{240 + target}"


def check_node_count(count: int) -> None:
    """Refuse more nodes than a block has addresses for."""
    if not 1 <= count <= NODES_MAX:
        raise UsageError(
            f"the local environment runs 1 to {NODES_MAX} nodes, not {count}; "
            "more need the environment docker or ssh"
        )


def claim(name: str) -> tuple[str, socket.socket]:
    """A block no other run has, and the socket which holds it until it is closed."""
    digest = hashlib.sha256(name.encode()).digest()
    first = int.from_bytes(digest[:8], "big")
    for step in range(64):
        number = (first + step * 7919) % _BLOCKS
        block = f"127.{number // 256 + 20}.{number % 256}"
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            holder.bind((f"{block}.254", _CLAIM_PORT))
        except OSError:
            holder.close()
            continue
        return block, holder
    raise SetupError(
        f"no free block of loopback addresses found in 64 tries (UDP port {_CLAIM_PORT} of "
        "127.x.y.254 is taken or refused everywhere); is loopback IPv4 set up?"
    )
