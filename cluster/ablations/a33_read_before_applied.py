"""A33: a read is answered before its index is applied.

The leader names the index, and the follower that serves the read is not there yet.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.pending_reads import PendingReads


class ReadBeforeApplied(PendingReads):
    """Reads that wait for no entry."""

    def read_may_run(self, index: int, applied: int) -> bool:
        """At once."""
        return True


ABLATION = Ablation(
    ReadBeforeApplied,
    removes="A read runs at a state at least as new as its index.",
    breaks="A follower serves linearizable reads from the past.",
    nemesis="partition",
    pattern="follower_reads",
    real=False,
)
