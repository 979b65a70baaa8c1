"""A11d: a read answers before a write quorum has what it tells.

A write that reached one replica is found by a quorum that has this replica in it, and not by the
next one. Both reads asked a quorum, and the second one goes back in time.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.leaderless.read_repair import ReadRepair


class AnswersFirst(ReadRepair):
    """Repairs while the answer is on its way."""

    def must_write_back(self, *, have: int, quorum: int) -> bool:
        """It need not."""
        return False


ABLATION = Ablation(
    AnswersFirst,
    role="leaderless",
    pattern="majority_quorum",
    removes="A read answers only after it has written back what it found.",
    breaks="An element that was read is missing from a later read.",
    nemesis="partition",
    workload="siblings",
    checker="siblings",
    anomaly="stale",
    real=False,
)
