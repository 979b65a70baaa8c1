"""A37: a group serves a request that names an epoch which is over.

A scan of a range that was split meanwhile is answered by its left part alone.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.ownership import Ownership


class StaleEpochAccepted(Ownership):
    """A group to which a partition is the same at any epoch."""

    def epoch_is_current(self, held: int, asked: int) -> bool:
        """True: the group has the partition, perhaps with other bounds."""
        return True


ABLATION = Ablation(
    StaleEpochAccepted,
    removes="A group refuses a request that names another epoch than its own.",
    breaks="A scan that was addressed before a split misses the keys of the right part.",
    nemesis="partition",
    pattern="key_range_partitions",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item",
    random=False,
    real=False,
    role="data",
)
