"""A48: a group goes on serving a partition that moves away, since a node's cached map names it.

The node is cut off from the core and has not heard of the move. What it writes after the export is
in no copy that the new group has.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.ownership import Held, Ownership


class CachedMapIsBelieved(Ownership):
    """A group that acts for a partition that is moving away."""

    def still_acts(self, held: Held) -> bool:
        """It has a copy, and the map of the one who asks says that it is the owner."""
        return True


ABLATION = Ablation(
    CachedMapIsBelieved,
    removes="A group acts for a partition only until its own log says that it moves away.",
    breaks="Writes through a node with an old map are lost when the partition has moved.",
    nemesis="partition",
    pattern="fixed_partitions",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    role="data",
)
