"""A52d: messages are taken that were sent under an older ring.

A coordinator that missed a change of members finds a quorum of the members before, of whom some
are replicas no more. What it acknowledges is missing where readers ask now.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.leaderless.ring import RingFence


class OldRingIsTaken(RingFence):
    """A fence that stands open."""

    def takes(self, theirs: int, own: int) -> bool:
        """Yes: a message of any ring is taken."""
        return True


ABLATION = Ablation(
    OldRingIsTaken,
    role="leaderless",
    pattern="emergent_leader",
    removes="Nodes take each other's messages under the same ring only.",
    breaks="An acknowledged element is missing from a read.",
    nemesis="membership",
    workload="siblings",
    checker="siblings",
    anomaly="lost",
    random=False,
    real=False,
)
