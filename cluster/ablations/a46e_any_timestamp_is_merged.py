"""A46e: a node merges the timestamp of any message, however far ahead it is.

One node's clock is an hour fast. Its heartbeats carry that to all others, which must not issue
timestamps so far ahead of their own clocks: no transaction begins for an hour.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.hybrid_clock import HybridClock


class AnyTimestampIsMerged(HybridClock):
    """A clock that follows the fastest one it hears of."""

    def accepts(self, wall_ns: int, remote: int) -> bool:
        """True: every timestamp is merged."""
        return True


ABLATION = Ablation(
    AnyTimestampIsMerged,
    role="data",
    removes="A timestamp further ahead than the bound on clocks is not merged.",
    breaks="One broken clock stops the transactions of every node.",
    nemesis="clock",
    workload="bank",
    checker="liveness",
    anomaly="liveness",
    random=False,
    real=False,
    pattern="hybrid_clock",
)
