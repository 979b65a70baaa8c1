"""A68a: a new primary goes on with the longest log, and not with that of the latest view.

A primary that was cut off may have a long tail that no other replica had. The views after it have
replaced that tail by shorter and newer logs, and have committed them.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.view_change import ViewChange
from cluster.wire import DoViewChange


class ViewTakesTheLongestLog(ViewChange):
    """A change of view that counts entries only."""

    def rank(self, report: DoViewChange) -> tuple[int, int]:
        """More is better."""
        return 0, report.last_index


ABLATION = Ablation(
    ViewTakesTheLongestLog,
    removes="Of the logs reported to a new primary that of the latest normal view wins.",
    breaks="Entries of a primary that was replaced take the place of committed ones.",
    nemesis="partition,kill",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="leader_and_followers",
)
