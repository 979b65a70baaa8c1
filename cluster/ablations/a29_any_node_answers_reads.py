"""A29: a read is answered by the node that is asked, from what it has applied.

A follower is behind its leader by a message, or by a partition. What it answers was true once.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.follower_reads import FollowerReads


class AnyNodeAnswersReads(FollowerReads):
    """Reads that need no index."""

    def needs_no_index(self, mode: str) -> bool:
        """True: no read waits for an index, whether linearizable or not."""
        return True


ABLATION = Ablation(
    AnyNodeAnswersReads,
    removes="A linearizable read waits for an index that the leader names.",
    breaks="A follower that lags serves reads from the past.",
    nemesis="partition",
)
