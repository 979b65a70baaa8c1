"""A38: a group that has not said whether it prepared counts as having voted yes.

The prepare is lost, and nothing in the group's log says that it was asked. The coordinator decides
to commit all the same: one group has the transfer, and the other never will.
"""

from __future__ import annotations

from typing import Any

from cluster.ablations.registry import Ablation
from cluster.data.commit_coordinator import CommitCoordinator
from cluster.data.partition_commands import YES


class VotesBeforeTheyAreDurable(CommitCoordinator):
    """A coordinator that takes silence for consent."""

    def votes_only_when_durable(self, status: str, answer: Any) -> bool:
        """It was asked, so it will have agreed."""
        return status == "unknown" or (status == "ok" and answer[0] == YES)


ABLATION = Ablation(
    VotesBeforeTheyAreDurable,
    role="data",
    removes="Only a vote that was replicated in its group counts.",
    breaks="One half of a transfer is committed, and the other was never prepared.",
    nemesis="partition",
    workload="bank",
    checker="bank",
    anomaly="wrong-total",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
