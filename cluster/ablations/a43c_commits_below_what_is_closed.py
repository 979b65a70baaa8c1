"""A43c: a transaction commits at a timestamp that was closed.

Reads below the closed timestamp are served anywhere and validated nowhere, since nothing can come
in any more. Here something does.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.two_phase_commit import Participant


class CommitsBelowWhatIsClosed(Participant):
    """A group that closes timestamps and forgets it."""

    def respects_closed(self, closed: int) -> int:
        """Nothing was closed."""
        return 0


ABLATION = Ablation(
    CommitsBelowWhatIsClosed,
    role="data",
    removes="No transaction commits at or below a timestamp that was closed.",
    breaks="A read of the past misses what later turns out to have been there.",
    nemesis="partition",
    workload="list-append",
    checker="list-append",
    anomaly="G2-item",
    random=False,
    real=False,
    pattern="follower_reads",
)
