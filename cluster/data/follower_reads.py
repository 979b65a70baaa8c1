"""Follower Reads: any node answers reads, each with the guarantee the reader asked for.

Problem. Reads that all go to the leader load one node and cross the network. Reads from any node's
state are cheap, and say nothing about how old the answer is.

Solution. A read names its mode, and a node serves it only as far as the mode's promise holds:

    linearizable   the leader, after a round that proves it still leads (ReadIndex)
    lease          the leader, without the round while its lease holds (clock rates must be sane)
    follower       any node: it asks the leader for an index, and waits until it has applied it
    session        any node, once it has applied the revision that the session has seen
    bounded        any node that knows it was up to date at most so long ago; else as ``follower``
    stale          any node, at once

For ``bounded`` a node remembers when it asked for the last index that the leader named and that it
has applied. Its state is at least as new as that moment, by its own clock alone; how long the
leader's answer took does not matter. Such reads cost a message to the leader only when the last one
is too long ago.

Invariants. A session's reads never go back, and see its own writes, whichever node answers. A
bounded read misses nothing that was committed longer ago than its bound.

What breaks without it. A29: a follower's own state offered as linearizable is old. A29b: a session
that hops between nodes without its revision sees the past after the present. A29c: a node that does
not look how old its state is serves any past as a bounded read. A33: a read before its
index is applied.

Source: Joshi, "Follower Reads"; Raft thesis 6.4; etcd's ``serializable``, Consul's ``max_stale``,
ZooKeeper's ``sync``. Used by ``cluster.core.replica``; the indexes are the consensus' business.
"""

from __future__ import annotations

from typing import Final

from cluster.wire import Request

LINEARIZABLE, LEASE, FOLLOWER = "linearizable", "lease", "follower"
SESSION, BOUNDED, STALE = "session", "bounded", "stale"
READ_MODES: Final = (LINEARIZABLE, LEASE, FOLLOWER, SESSION, BOUNDED, STALE)

#: What a node does with a read.
NOW: Final = "now"
WAIT: Final = "wait"
LEADER_ONLY: Final = "leader"
ASK_LEADER: Final = "ask"


class FollowerReads:
    """One node's decisions about reads."""

    __slots__ = ("_fresh_ns",)

    def __init__(self) -> None:
        #: the node's state is at least as new as this moment of its own clock; -1 at first
        self._fresh_ns = -1

    def way(self, now_ns: int, request: Request, applied: int) -> str:
        """How a read of a known mode is served.

        Args:
            now_ns: the node's time.
            request: the read.
            applied: the index the node has applied.

        Returns:
            NOW from the present state, WAIT until the request's revision is applied, LEADER_ONLY by
            the leader, ASK_LEADER with an index that the leader names.
        """
        if self.needs_no_index(request.mode):
            return NOW
        match request.mode:
            case "session":
                return NOW if self.has_seen(request.min_revision, applied) else WAIT
            case "bounded":
                return NOW if self.is_fresh(now_ns, request.staleness_ns) else ASK_LEADER
            case "follower":
                return ASK_LEADER
            case _:
                return LEADER_ONLY

    def needs_no_index(self, mode: str) -> bool:
        """Decision: whether a read of this mode is answered from the state as it is."""
        return mode == STALE

    def has_seen(self, revision: int, applied: int) -> bool:
        """Decision: whether the state holds all that a session has seen."""
        return applied >= revision

    def is_fresh(self, now_ns: int, staleness_ns: int) -> bool:
        """Decision: whether the state misses nothing older than a bound."""
        return self._fresh_ns >= 0 and now_ns - self._fresh_ns <= staleness_ns

    def confirmed(self, asked_ns: int) -> None:
        """A read that asked for an index at this moment was served: the state is as new as that."""
        assert asked_ns >= 0, f"a read was asked at {asked_ns}"
        self._fresh_ns = max(self._fresh_ns, asked_ns)
