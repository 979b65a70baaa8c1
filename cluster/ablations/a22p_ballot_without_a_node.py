"""A22p: a ballot is a round alone, so that two proposers may have the same one.

Both have the promise of a majority for it, both propose a value, and an acceptor cannot tell them
apart: it acknowledges the second proposal as a copy of the first.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.paxos import BallotClock
from cluster.wire import Ballot


class BallotWithoutANode(BallotClock):
    """A clock whose ballots name no node."""

    def ballot_of(self, round: int) -> Ballot:
        """The round alone."""
        return Ballot(round)


ABLATION = Ablation(
    BallotWithoutANode,
    role="paxos",
    removes="A ballot names the node that made it, so no two attempts share one.",
    breaks="Two compare-and-sets of one value both succeed, under one ballot.",
    nemesis="partition",
)
