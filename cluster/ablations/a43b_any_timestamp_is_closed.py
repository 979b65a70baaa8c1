"""A43b: a replica answers a read at any timestamp as if nothing could be missing below it.

The replica has not heard of the latest commit. A reader that is content with the past is given that
of one group as it is there, and that of another as it is.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.partition_reads import PartitionReads


class AnyTimestampIsClosed(PartitionReads):
    """A replica that knows all."""

    def is_closed(self, timestamp: int) -> bool:
        """What is here is all there is."""
        return True


ABLATION = Ablation(
    AnyTimestampIsClosed,
    role="data",
    removes="A replica serves reads at or below the closed timestamp that it has applied.",
    breaks="A read of the past sees half of a transaction.",
    nemesis="partition",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item",
    random=False,
    real=False,
    pattern="follower_reads",
)
