"""The workload ``monotonic``: what only grows is never seen to shrink.

Counters are incremented and read; an increment returns the new value. An operation that begins
after another completed must not observe less, and no two increments may return the same value.
Besides lost updates this finds timestamps that run backwards: a commit at a slow node below one
that was answered before.

Source: the ``monotonic`` tests of Jepsen (CockroachDB, TiDB).
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.monotonic import monotonic as monotonic_checker
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_positive, check_share
from workloads.workload import Workload


def monotonic(*, keys: int = 4, rate_hz: float = 60.0, read: float = 0.5) -> Workload:
    """Counters.

    Args:
        keys: how many.
        rate_hz: operations per second over all workers.
        read: share of reads.

    Raises:
        ValueError: options that leave nothing to check.
    """
    check_positive(keys=keys)
    check_share("read", read)
    reads = gen.mix(*(gen.repeat(gen.op("read", key=key)) for key in gen.key_names(keys)))
    increments = gen.mix(*(gen.repeat(gen.op("inc", key=key)) for key in gen.key_names(keys)))
    return Workload(
        name="monotonic",
        objects="monotonic",
        generator=gen.mix(reads, increments, weights=[read, 1 - read]).rate(rate_hz),
        final=gen.each_thread(gen.seq([gen.op("read", key=key) for key in gen.key_names(keys)])),
        checker=monotonic_checker(scope="realtime") & stats() & availability(),
        model="monotonic",
        operations=frozenset({"inc", "read"}),
        keys_description="counters that only grow",
    )
