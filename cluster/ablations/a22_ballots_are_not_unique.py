"""A22: ballots are round numbers, without anything of the node in them.

Two nodes stand at the same time and take the same ballot. Each acceptor keeps its promise to the
ballot, and so serves both.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.ballots import Ballots


class BallotsNotUnique(Ballots):
    """Ballots that any node may have."""

    def rank(self) -> int:
        """The same on every node."""
        return 1


ABLATION = Ablation(
    BallotsNotUnique,
    removes="A ballot names its proposer, so no two nodes use the same.",
    breaks="Two leaders of one ballot have two values chosen for one slot.",
    nemesis="partition",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
