"""A20b: an acceptor accepts proposals of a ballot below the one it has promised.

The promise is what makes a new proposer safe: what it did not hear of in phase 1 can no longer be
chosen. An acceptor that goes on serving the old proposer breaks it.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.acceptor import Acceptor


class AcceptsBelowItsPromise(Acceptor):
    """An acceptor that accepts from anyone."""

    def may_accept(self, ballot: int, promised: int) -> bool:
        """Any ballot will do."""
        return True


ABLATION = Ablation(
    AcceptsBelowItsPromise,
    removes="An acceptor refuses a ballot lower than the one it has promised.",
    breaks="Two leaders have two values chosen for one slot: an acknowledged write is gone.",
    nemesis="partition",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
