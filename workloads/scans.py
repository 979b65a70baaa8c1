"""The workload ``scans``: a scan sees every key once, while ranges split, merge and move.

Elements are added, each a key of its own, and read by one scan over all partitions. Every element
acknowledged before a scan began must be in it, once: a scan that is addressed by an old map, or by
two maps, misses half of a range that was split, or has a key twice that was moved. Run it with
``--nemesis partition-move,partition-split,partition-merge``.

Source: the scans over splits of range stores' own test suites; checked as Jepsen's ``set-full``.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.set import set_full
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_share
from workloads.workload import Workload


def scans(*, rate_hz: float = 50.0, read: float = 0.3) -> Workload:
    """Keys that are added, and scans of all of them.

    Args:
        rate_hz: operations per second over all workers; every scan has all keys there are.
        read: share of scans.

    Raises:
        ValueError: an option that leaves nothing to check.
    """
    check_share("read", read)
    reads = gen.repeat(gen.op("read"))
    adds = gen.writes([None], f="add")
    return Workload(
        name="scans",
        objects="scanned-set",
        generator=gen.mix(reads, adds, weights=[read, 1 - read]).rate(rate_hz),
        final=gen.each_thread(reads.limit(2)),
        checker=set_full(linearizable=True) & stats() & availability(),
        model="set",
        operations=frozenset({"add", "read"}),
        keys_description="one set, read by scans; each element is a key",
    )
