"""A47a: a commit is told of although its timestamp is not past on every clock.

The clocks differ by less than the bound. A transaction that begins after the answer, at the slow
node, reads below it. The history is serializable, and not strictly so.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.clock_bound_wait import ClockBoundWait


class NoWaitForTheClockBound(ClockBoundWait):
    """Commits that are told of at once."""

    def waits_for_clock_bound(self, wall_ns: int, timestamp: int) -> bool:
        """It has committed."""
        return False


ABLATION = Ablation(
    NoWaitForTheClockBound,
    role="data",
    removes="A commit is told of only when its timestamp is past on every clock.",
    breaks="A transaction misses one that was answered before it began.",
    nemesis="clock",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    pattern="clock_bound_wait",
)
