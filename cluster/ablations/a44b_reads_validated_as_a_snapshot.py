"""A44b: what a serializable transaction has read is validated as a snapshot only.

Two transactions read one key each and write the other's. Each snapshot is whole, and no moment is
there at which both could have happened. Snapshot isolation allows that, so the same history is
valid under that level: a judge that knows the levels must say both.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.commit_coordinator import CommitCoordinator
from cluster.data.transaction import Transaction


class ReadsValidatedAsASnapshot(CommitCoordinator):
    """A coordinator that runs every transaction under snapshot isolation."""

    def validated_up_to(self, txn: Transaction, timestamp: int) -> int:
        """It was a snapshot when it was read."""
        return txn.read_by


ABLATION = Ablation(
    ReadsValidatedAsASnapshot,
    role="data",
    removes="What a serializable transaction has read still holds when it commits.",
    breaks="Write skew: two transactions each miss what the other wrote.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G2-item",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
