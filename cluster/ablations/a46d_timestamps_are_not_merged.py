"""A46d: a node does not merge the timestamps that messages and groups name.

A write must commit above the timestamp at which its key was read. The group says so, and the
coordinator asks again with the time of its own clock, which is slow, until it gives up.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.hybrid_clock import HybridClock


class TimestampsAreNotMerged(HybridClock):
    """A clock that knows of no other clock."""

    def observe(self, wall_ns: int, remote: int) -> bool:
        """It is looked at and not remembered."""
        return self.accepts(wall_ns, remote)


ABLATION = Ablation(
    TimestampsAreNotMerged,
    role="data",
    removes="What follows from a message is later than what led to it.",
    breaks="A transaction that nothing is in the way of is refused at a node whose clock is slow.",
    nemesis="clock",
    workload="bank",
    checker="liveness",
    anomaly="liveness",
    random=False,
    real=False,
    pattern="hybrid_clock",
)
