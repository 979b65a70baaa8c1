"""A68j: a replica without a memory takes part with the first piece of its primary's log.

That is enough for a replica that was merely away: it has all that it acknowledged. A replica
that lost its disk may have acknowledged everything that its primary has by now.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.replica_recovery import ReplicaRecovery
from cluster.wire import RecoveryResponse


class RecoveryEndsTooEarly(ReplicaRecovery):
    """A recovery that is content with any part of the log."""

    def must_reach(self, primary: RecoveryResponse) -> int:
        """Anything will do."""
        return 0


ABLATION = Ablation(
    RecoveryEndsTooEarly,
    removes="A recovering replica joins a view only when it has all that the primary had.",
    breaks="What it acknowledged before it lost its disk is on too few replicas, and lost.",
    nemesis="kill",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="majority_quorum",
)
