"""Placement: which members hold a key, by rendezvous hashing.

Problem. Every node must name the same replicas of a key, without asking anybody, and a change of
the members should move few keys.

Solution. Each (key, member) has a stable hash, and a key's members in order of it are its
preference list: the first are its replicas, those after them stand in for replicas that are away.
A member that leaves changes the replicas only of the keys it held. The hash is that of the bytes:
Python's own differs from process to process.

Invariants. Equal members give equal lists on every node.

What breaks without it. Nodes that disagree about the replicas have quorums that do not meet.

Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998); Dynamo's
preference list (2007). Pure; used by ``cluster.leaderless``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def preference_list(key: str, members: Sequence[str]) -> tuple[str, ...]:
    """The members in the order in which they are to hold a key.

    Args:
        key: the key.
        members: all of them, in any order.
    """
    return tuple(sorted(members, key=lambda member: (_weight(key, member), member)))


def _weight(key: str, member: str) -> bytes:
    return hashlib.blake2b(f"{key}\x1f{member}".encode(), digest_size=8).digest()
