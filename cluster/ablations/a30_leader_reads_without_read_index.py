"""A30: a leader answers reads at once, without confirming that it still leads.

A leader that is cut off from its peers, but not from its clients, does not know that others have
gone on without it, and answers from the past.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.read_index import ReadIndex


class LeaderReadsWithoutReadIndex(ReadIndex):
    """Reads that wait for no heartbeat round."""

    def read_is_safe(self, round: int, confirmed: int) -> bool:
        """A leader may always read."""
        return True


ABLATION = Ablation(
    LeaderReadsWithoutReadIndex,
    removes="Before a read a leader confirms by a heartbeat round that it still leads.",
    breaks="A leader cut off from its peers serves reads from the past.",
    nemesis="partition",
)
