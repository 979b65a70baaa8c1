"""A36a: the hash of a key is divided by the number of groups, and not by a fixed number of slots.

As soon as one more group is there, most keys belong to another partition, and the partition they
were written to is not asked for them any more.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.fixed_partitions import FixedPartitions


class HashDividedByTheGroups(FixedPartitions):
    """Slots as many as there are groups at present."""

    def modulus(self, groups: int) -> int:
        """As many as there are groups."""
        return max(1, min(groups, self.slots))


ABLATION = Ablation(
    HashDividedByTheGroups,
    removes="The number of slots is chosen once, and does not follow the number of groups.",
    breaks="After a node joined, keys written before are not found.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    role="data",
)
