"""A68f: a new primary takes the whole log it begins with to be committed.

The log of a new view has everything that was committed, and also what was not: it becomes so only
when a quorum has it in the new view.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.consensus.view_change import ViewChange
from cluster.wire import DoViewChange


class CommitNumberTooHigh(ViewChange):
    """A change of view that commits what it finds."""

    def commit_number(self, reports: Sequence[DoViewChange]) -> int:
        """The end of the longest log."""
        return max(report.last_index for report in reports)


ABLATION = Ablation(
    CommitNumberTooHigh,
    removes="The commit number of a new view is the highest one reported, not the end of its log.",
    breaks="A write is acknowledged that only the new primary has, and lost with it.",
    nemesis="partition,kill",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="high_water_mark",
)
