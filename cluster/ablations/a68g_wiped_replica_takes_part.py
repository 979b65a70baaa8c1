"""A68g: a replica that has lost its disk takes part at once.

It reports an empty log as if that were all it ever had, and with it a quorum of replicas knows of
nothing.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.replica_recovery import ReplicaRecovery
from cluster.ports import Recovered


class WipedReplicaTakesPart(ReplicaRecovery):
    """A recovery that is never needed."""

    def is_needed(self, recovered: Recovered) -> bool:
        """An empty disk is a disk."""
        return False


ABLATION = Ablation(
    WipedReplicaTakesPart,
    removes="A founder with an empty disk asks the others before it takes part.",
    breaks="A quorum with a wiped replica knows nothing of what was acknowledged.",
    nemesis="kill",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="majority_quorum",
)
