"""A68c: a primary starts its view before a quorum has reported to it.

What was committed is on a quorum. A primary that asks fewer than a quorum may ask none of those
that have it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.consensus.view_change import ViewChange
from cluster.wire import DoViewChange


class ViewStartsBeforeAQuorum(ViewChange):
    """A change of view in which any report will do."""

    def may_start(self, reports: Sequence[DoViewChange]) -> bool:
        """The first report is enough: the primary's own."""
        return True


ABLATION = Ablation(
    ViewStartsBeforeAQuorum,
    removes="The primary of a view starts it only when a quorum has reported.",
    breaks="What others have committed is missing from the view, and lost.",
    nemesis="partition,kill",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="majority_quorum",
)
