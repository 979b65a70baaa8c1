"""A44e: of two transactions under snapshot isolation that write one key, both commit.

Each has read the key before the other wrote it, so one update is made in ignorance of the other.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.timestamped_values import Version
from cluster.data.two_phase_commit import Participant


class LastCommitterWins(Participant):
    """A group that lets any writer of a snapshot commit."""

    def first_committer_wins(self, newest: Version | None, started: int) -> bool:
        """It is newer."""
        return False


ABLATION = Ablation(
    LastCommitterWins,
    role="data",
    removes="Under snapshot isolation the first of two writers of a key commits.",
    breaks="Lost update: two transactions read the same and both write.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="lost-update",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
