"""A24: a proposer reads what it has learned to be chosen, without asking a majority.

It learned what was chosen under its own ballot. Whether a higher ballot has been promised since,
and has had more chosen, only a majority of acceptors can tell.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.read_index import ReadIndex


class ReadsWhatItKnows(ReadIndex):
    """Reads of what this node has learned."""

    def read_is_safe(self, round: int, confirmed: int) -> bool:
        """No round is waited for."""
        return True


ABLATION = Ablation(
    ReadsWhatItKnows,
    removes="A read is answered only after a quorum round has confirmed the proposer.",
    breaks="A proposer that is cut off answers from the past.",
    nemesis="partition",
    consensus="multi-paxos",
    pattern="paxos",
)
