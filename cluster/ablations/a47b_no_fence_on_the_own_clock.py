"""A47b: a node whose clock is further off than the bound goes on.

The wait is right only while clocks differ by less than is declared. A node that hears from a
majority that it is off refuses transactions. This one does not: what the wait should exclude
happens, and the assumption is what was violated.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.clock_fence import ClockFence


class NoFenceOnTheOwnClock(ClockFence):
    """A node that trusts its clock against a majority of the others."""

    def is_fenced(self, disagree: int, heard: int) -> bool:
        """Its clock is the right one."""
        return False


ABLATION = Ablation(
    NoFenceOnTheOwnClock,
    role="data",
    removes="A node whose clock disagrees with a majority refuses transactions.",
    breaks="A transaction misses one that was answered before it began.",
    nemesis="clock",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    pattern="clock_bound_wait",
)
