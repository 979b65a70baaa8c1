"""A20q: an acceptor accepts a ballot below the one it promised.

The proposer of the higher ballot has the promise of a majority that nothing older will come, and
builds on what it was told. The older ballot is chosen all the same, and its change is overwritten
by one that never saw it.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.paxos import Acceptor
from cluster.wire import Ballot


class AcceptsBelowItsPromise(Acceptor):
    """An acceptor that only looks at what it accepted."""

    def may_accept(self, ballot: Ballot) -> bool:
        """Any ballot from the last accepted one on is accepted."""
        return ballot >= self.accepted


ABLATION = Ablation(
    AcceptsBelowItsPromise,
    role="paxos",
    removes="An acceptor refuses ballots below the one it promised.",
    breaks="Two compare-and-sets of one value both succeed: the first is overwritten unseen.",
    nemesis="partition",
)
