"""A37b: a scan asks the partition in which it begins, and no other.

That is right for as long as the range is one partition. After a split it misses the right part.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.key_range_partitions import KeyRange, KeyRangePartitions


class ScanEndsWithItsFirstRange(KeyRangePartitions):
    """Ranges that are found one at a time."""

    def within(self, low: str, high: str | None) -> list[tuple[KeyRange, str, str | None]]:
        """The one that has the first key."""
        return super().within(low, high)[:1]


ABLATION = Ablation(
    ScanEndsWithItsFirstRange,
    role="data",
    removes="A scan goes on in every range that it shares keys with.",
    breaks="After a split a scan misses the keys of the right part.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item",
    random=False,
    real=False,
    pattern="key_range_partitions",
)
