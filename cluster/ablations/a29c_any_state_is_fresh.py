"""A29c: a bounded read is answered by any node, however old the node's state is.

The client of a node that is cut off reads the past for as long as the cut lasts.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.follower_reads import FollowerReads


class AnyStateIsFresh(FollowerReads):
    """Reads that do not ask how long ago the state was up to date."""

    def is_fresh(self, now_ns: int, staleness_ns: int) -> bool:
        """It will do."""
        return True


ABLATION = Ablation(
    AnyStateIsFresh,
    removes="A bounded read asks the leader once the node's state may be older than the bound.",
    breaks="A read returns what was replaced longer ago than the client allows.",
    nemesis="partition",
    checker="bounded-staleness",
    anomaly="too-stale",
    random=False,
    real=False,
)
