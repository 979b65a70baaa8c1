"""A50a: a watch begins with the present state, and not at the revision it names.

What changed between two watches of one client is told by neither.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.state_watch import StateWatch


class WatchBeginsNow(StateWatch):
    """Watches that tell of what comes, not of what was."""

    def begins_after(self, asked: int | None, applied: int) -> int:
        """After all that was applied."""
        return applied


ABLATION = Ablation(
    WatchBeginsNow,
    removes="A watch begins after the revision that the watcher names.",
    breaks="A change between two watches is never told.",
    nemesis="partition",
    workload="watch",
    checker="watch",
    anomaly="gap",
    random=False,
    real=False,
)
