"""A51d: a member that was not reached in one round is dead, and is not suspected first.

A disturbance of half a second is enough for the two sides of it to bury each other.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.gossip.failure_detector import FailureDetector
from cluster.gossip.membership_view import DEAD


class SilenceIsDeath(FailureDetector):
    """A detector without suspicion."""

    def state_of_silent(self) -> int:
        """It is dead."""
        return DEAD


ABLATION = Ablation(
    SilenceIsDeath,
    role="gossip",
    removes="A silent member is suspected, and has time to refute.",
    breaks="The living are taken for dead at each short disturbance.",
    nemesis="partition",
    workload="membership-convergence",
    checker="convergence",
    anomaly="diverged",
    random=False,
    real=False,
)
