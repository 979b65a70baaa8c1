"""The workload ``ownership``: every act says who owned the partition, and under which epoch.

Keys are in partitions that are moved, split and merged. Each operation acts on one key. Its answer
names the partition, the group that carried the act out, the epoch under which the group took it,
and the number of the act among all on that key. The number is part of the data that moves. So a
client sees who was in charge, and two owners at once cannot hide: either they act at one epoch, or
an act of an epoch that is over is accepted after one of a later epoch, or both count alike.

In the final phase every worker acts once more on the keys last in use: what an owner acknowledged
and did not hand over shows as a number given twice.

Run it with ``--nemesis partition-move,partition-split,partition-merge,partition,kill,pause``.

Source: Joshi, "Fixed Partitions", "Key-Range Partitions" and "Consistent Core"; the region epochs
of TiKV.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.ownership import ownership as ownership_checker
from checkers.judges.stats import stats
from workloads.common import FinalReads, Window, WindowOps, check_positive
from workloads.workload import Workload


def ownership(*, keys: int = 8, acts_per_key: int = 60, rate_hz: float = 80.0) -> Workload:
    """Acts on keys whose partitions change hands.

    Args:
        keys: how many are in use at a time.
        acts_per_key: acts on a key before another takes its place, about.
        rate_hz: operations per second over all workers.

    Raises:
        ValueError: options that leave nothing to compare.
    """
    check_positive(keys=keys, acts_per_key=acts_per_key)
    window = Window(keys, acts_per_key)
    return Workload(
        name="ownership",
        objects="owned",
        generator=WindowOps(window, "act", valued=False).rate(rate_hz),
        final=FinalReads(window, "act"),
        checker=ownership_checker() & stats() & availability(),
        model="ownership",
        reads=frozenset(),
        operations=frozenset({"act"}),
        keys_description="keys of partitions that change hands; each act says who the owner was",
    )
