"""A68b: a replica without a memory takes any answer for one to its question.

When the cluster was new the others had nothing, and said so. A copy of that answer that comes late,
after the replica has lost its disk, says that it may take part with nothing.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.replica_recovery import ReplicaRecovery
from cluster.wire import RecoveryResponse


class RecoveryWithoutANonce(ReplicaRecovery):
    """A recovery that does not look at the nonce of an answer."""

    def is_answer(self, message: RecoveryResponse) -> bool:
        """Any answer is one."""
        return True


ABLATION = Ablation(
    RecoveryWithoutANonce,
    removes="A replica without a memory takes only answers to the questions of its present life.",
    breaks="A wiped replica takes part with an empty log, and acknowledged writes are lost.",
    nemesis="kill",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="majority_quorum",
)
