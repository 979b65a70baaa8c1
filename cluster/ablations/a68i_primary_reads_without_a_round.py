"""A68i: a primary answers reads at once, without a round that confirms its view.

The next view may have started without it. (The same decision as A30, in another variant.)
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.read_index import ReadIndex


class PrimaryReadsWithoutARound(ReadIndex):
    """Reads that wait for no heartbeat round."""

    def read_is_safe(self, round: int, confirmed: int) -> bool:
        """A primary may always read."""
        return True


ABLATION = Ablation(
    PrimaryReadsWithoutARound,
    removes="Before a read a primary confirms by a quorum that its view is the latest.",
    breaks="A primary cut off from the others serves reads from the past.",
    nemesis="partition",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="follower_reads",
)
