"""Ballots: numbers for proposals, each of one node only.

Problem. Two nodes may propose at the same time. If both used one number, an acceptor could take a
value from each under it, and a quorum for the number would name two values.

Solution. A ballot is ``round * n + rank``: a round that grows, and the rank (1 to n) of the node
among the members the cluster was founded with. So ballots order all proposals, and a ballot names
its proposer. A node that stands for election takes its lowest ballot above all it has promised; its
own promise of that ballot is durable before it asks anyone, so a restarted node never uses a ballot
again.

Invariants. No two nodes have a ballot in common. The ballots of a node grow, restarts included.

What breaks without it. A22: two proposers share a ballot, and a slot gets two values under it.

Source: Lamport, "The Part-Time Parliament" (1998) and "Paxos Made Simple" (2001): disjoint sets of
proposal numbers. Used by the Multi-Paxos core, as the generations of its Generation Clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ports import NodeId


class Ballots:
    """The ballots of one node.

    Args:
        node: this node.
        members: every node that may propose; the same on all nodes, and for ever.
    """

    __slots__ = ("_count", "_rank")

    def __init__(self, node: NodeId, members: Sequence[NodeId]) -> None:
        self._count = len(members)
        self._rank = sorted(members).index(node) + 1 if node in members else 0

    def rank(self) -> int:
        """Decision: what makes this node's ballots its own: a number from 1 to the members'."""
        return self._rank

    def next_ballot(self, above: int) -> int:
        """This node's lowest ballot above another ballot."""
        assert self._rank, "a node that is no member proposes nothing"
        ballot = above // self._count * self._count + self.rank()
        return ballot if ballot > above else ballot + self._count
