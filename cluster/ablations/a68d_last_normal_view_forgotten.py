"""A68d: the last normal view is not written to the disk.

A replica that restarts has its log, but no longer knows of which view it is. The log of an earlier
view, on a replica that did not restart, looks newer.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.generation_clock import GenerationClock
from cluster.wire import HardState


class LastNormalViewForgotten(GenerationClock):
    """A clock whose last normal view is in memory only."""

    def hard_state(self) -> HardState:
        """The view will do."""
        return HardState(self.generation, self.voted_for)


ABLATION = Ablation(
    LastNormalViewForgotten,
    removes="A replica remembers durably in which view its log was last brought in line.",
    breaks="An older log wins the next view, and acknowledged writes are lost.",
    nemesis="partition,kill",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="generation_clock",
)
