"""A21c: an acceptor promises although it has dropped slots that the proposer asks for.

It took a snapshot and let the slots below go. Its report is silent about them, and the proposer
takes silence for emptiness.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.acceptor import Acceptor


class PromisesForDroppedSlots(Acceptor):
    """An acceptor that tells what it still has."""

    def can_tell(self, first: int) -> bool:
        """Always."""
        return True


ABLATION = Ablation(
    PromisesForDroppedSlots,
    removes="An acceptor promises nothing to a proposer that lacks slots behind its snapshot.",
    breaks="A node that was away leads, and fills acknowledged slots with no-ops.",
    nemesis="partition",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
