"""A47c: what was heard of the clock before it jumped is still believed.

The clock jumps ahead by more than the bound. For as long as the old words of the peers count, the
node takes itself for right, and issues timestamps of the future.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.clock_fence import ClockFence


class JumpIsNotNoticed(ClockFence):
    """A node that does not compare its two clocks."""

    def has_jumped(self, by_ns: int) -> bool:
        """Clocks do not jump."""
        return False


ABLATION = Ablation(
    JumpIsNotNoticed,
    role="data",
    removes="After a jump of the clock nothing counts that was heard before.",
    breaks="A transaction misses one that was answered before it began.",
    nemesis="clock",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    pattern="clock_bound_wait",
)
