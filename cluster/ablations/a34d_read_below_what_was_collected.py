"""A34d: a read below the oldest timestamp that is kept is answered from what is left.

As A34b, for the versions of a data group: a reader wants a moment that is longer ago than versions
are kept.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.timestamped_values import TimestampedValues


class ReadBelowWhatWasCollected(TimestampedValues):
    """Values that answer for any moment."""

    def may_read(self, timestamp: int) -> bool:
        """What is there is what there was."""
        return True


ABLATION = Ablation(
    ReadBelowWhatWasCollected,
    role="data",
    removes="A read below what was collected is refused.",
    breaks="A reader of the past misses what was there.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item",
    random=False,
    real=False,
    pattern="versioned_value",
)
