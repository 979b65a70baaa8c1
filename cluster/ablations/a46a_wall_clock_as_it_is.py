"""A46a: a version is what the wall clock shows.

Wall clocks differ. The write of a node whose clock is behind loses to an earlier write of another,
although its client had read that one.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.hybrid_clock import HybridClock


class WallClockAlone(HybridClock):
    """Physical time and nothing else."""

    __slots__ = ()

    def next_timestamp(self, wall_ns: int) -> int:
        """What the wall clock shows."""
        return wall_ns


ABLATION = Ablation(
    WallClockAlone,
    role="leaderless",
    removes="A timestamp is above all that the node knows, whatever the wall clock shows.",
    breaks="An acknowledged write of a node whose clock is slow is never read.",
    nemesis="clock",
    random=False,
    real=False,
)
