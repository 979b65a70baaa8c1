"""A48c: a group takes a partition at an epoch at which it has given it up.

The order is that of a controller that was deposed, and comes late. Its data is of the time before
the next controller moved the partition to this group, and on to another one.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.ownership import Ownership


class OldEpochIsTakenAgain(Ownership):
    """A group that forgets what it had."""

    def is_over(self, epoch: int, given_up: int) -> bool:
        """False: an offer at any epoch is taken."""
        return False


ABLATION = Ablation(
    OldEpochIsTakenAgain,
    role="data",
    removes="A partition that was given up at an epoch is never taken again at that epoch.",
    breaks="A late order of a deposed controller makes a second owner, for nodes with an old map.",
    nemesis="partition",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    pattern="replica",
)
