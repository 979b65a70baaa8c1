"""A44: a write commits below a read of its key that was validated.

A transaction has read the key as of its commit timestamp. Another one has a lower timestamp and is
slow: its write comes in below, and neither has seen the other.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.timestamp_cache import TimestampCache


class ReadsLeaveNoTrace(TimestampCache):
    """A cache that remembers no read."""

    def served_at(self, key: str) -> int:
        """The key was never read."""
        return 0


ABLATION = Ablation(
    ReadsLeaveNoTrace,
    role="data",
    removes="A write commits above every timestamp at which its key was read.",
    breaks="Write skew: two transactions each miss what the other wrote.",
    nemesis="partition",
    workload="list-append",
    checker="list-append",
    anomaly="G2-item",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
