"""A39: the groups are told to commit before the decision is in the log of the decision group.

The coordinator dies when one group has been told. The record says that nothing is decided, so the
other part is taken for an orphan and aborted.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.commit_coordinator import CommitCoordinator


class ToldBeforeDecided(CommitCoordinator):
    """A coordinator that keeps the decision in its memory."""

    def decision_is_logged_first(self) -> bool:
        """It has decided, and that is enough."""
        return False


ABLATION = Ablation(
    ToldBeforeDecided,
    role="data",
    removes="The decision is replicated before anyone is told of it.",
    breaks="After the coordinator died one half of a transfer is committed, and the other aborted.",
    nemesis="kill",
    workload="bank",
    checker="bank",
    anomaly="wrong-total",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
