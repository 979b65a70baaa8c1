"""Members: who takes part in a leaderless store, and who seems to be there.

Problem. A coordinator that waits for a dead replica each time is slow, and one that never asks it
again is wrong.

Solution. The store asks a small interface. What stands behind it is another matter: gossip, or, as
here, the founders for ever, each alive while it was heard of lately. Every message counts as a sign
of life, and heartbeats are sent to those who hear nothing else.

Invariants. Whether a member seems alive decides who is asked first and for whom hints are kept,
never what a quorum is.

Source: Joshi, "HeartBeat". Used by ``cluster.leaderless.node``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cluster.ports import NodeId


class Members(Protocol):
    """Who takes part."""

    @property
    def members(self) -> tuple[NodeId, ...]:
        """All members, in order of name."""

    def alive(self, node: NodeId) -> bool:
        """Whether a member seems to be there."""


class StaticMembers:
    """The founders, watched by the messages that come from them.

    Args:
        node: this node, which is always alive.
        members: all of them.
        suspect_ns: how long one may be silent.
    """

    __slots__ = ("_heard_ns", "_node", "_now_ns", "_suspect_ns", "members")

    def __init__(self, node: NodeId, members: Sequence[NodeId], *, suspect_ns: int) -> None:
        self._node = node
        self._suspect_ns = suspect_ns
        self._now_ns = 0
        #: when each was last heard of
        self._heard_ns: dict[NodeId, int] = {}
        self.members = tuple(sorted(members))

    def start(self, now_ns: int) -> None:
        """From now on members are listened for; none is suspected before the first timeout."""
        self._now_ns = now_ns
        self._heard_ns = dict.fromkeys(self.members, now_ns)

    def at(self, now_ns: int) -> None:
        """The time has come to this."""
        self._now_ns = max(self._now_ns, now_ns)

    def heard(self, now_ns: int, node: NodeId) -> None:
        """Something came from a member."""
        self.at(now_ns)
        self._heard_ns[node] = self._now_ns

    def alive(self, node: NodeId) -> bool:
        """Whether a member seems to be there."""
        if node == self._node:
            return True
        return self._now_ns - self._heard_ns.get(node, 0) <= self._suspect_ns
