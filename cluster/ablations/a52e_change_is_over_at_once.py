"""A52e: a change of members is over before those who gain keys have them.

A quorum may consist of a member that has nothing yet and of one that missed a write.
"""

from __future__ import annotations

from collections.abc import Collection

from cluster.ablations.registry import Ablation
from cluster.leaderless.ring_changes import RingChanges
from cluster.ports import NodeId


class ChangeIsOverAtOnce(RingChanges):
    """Changes that wait for no keys."""

    def is_handed_over(self, gainers: Collection[NodeId], have: Collection[NodeId]) -> bool:
        """Yes: a member that joins is taken to have its keys."""
        return True


ABLATION = Ablation(
    ChangeIsOverAtOnce,
    role="leaderless",
    pattern="emergent_leader",
    removes="A change of members waits until those who gain keys have them.",
    breaks="An acknowledged element is missing from a read.",
    nemesis="membership",
    workload="siblings",
    checker="siblings",
    anomaly="lost",
    real=False,
)
