"""A48b: a client's write of a key that is part of the map of partitions is carried out.

The map then names an owner that no group's log knows of. Only the controller may decide where data
is, since it moves the data first.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.front import Front


class ClientsWriteTheMap(Front):
    """A core in which all keys are alike."""

    def is_reserved(self, key: str) -> bool:
        """A key like any other."""
        return False


ABLATION = Ablation(
    ClientsWriteTheMap,
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    role="data",
    removes="Only the controller writes where partitions are.",
    breaks="What was written is not found, and its group is not asked for it any more.",
    nemesis="none",
    pattern="replica",
)
