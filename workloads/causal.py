"""The workloads ``causal`` and ``causal-reverse``: effects that are seen without their causes.

``causal``: single registers are read and written with unique values. What a process has seen comes
before its next one, and no process may see the second without the first.

``causal-reverse``: elements are added to a set one after the other, and the whole set is read. A
write that was acknowledged before another began must be in every read that has the other: strict
serializability forbids the reverse, and serializability alone allows it. The elements are keys of
their own, so that neighbours in time are in different partitions.

Sources: Bouajjani and others, On Verifying Causal Consistency, POPL 2017; the ``causal-reverse``
test of Jepsen.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.causal import causal as causal_checker
from checkers.judges.causal import causal_reverse as causal_reverse_checker
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import FinalReads, Window, WindowOps, check_positive, check_share
from workloads.workload import Workload


def causal(
    *, keys: int = 4, rate_hz: float = 100.0, read: float = 0.6, ops_per_key: int = 100
) -> Workload:
    """Who sees what a process has written also sees what that process had seen before.

    Args:
        keys: registers in use at a time.
        rate_hz: operations per second over all workers.
        read: share of reads.
        ops_per_key: operations after which a register is retired.

    Raises:
        ValueError: an option that leaves nothing to check.
    """
    check_positive(keys=keys, ops_per_key=ops_per_key)
    check_share("read", read)
    window = Window(keys, ops_per_key)
    reads, writes = WindowOps(window, "read", False), WindowOps(window, "write", True)
    return Workload(
        name="causal",
        generator=gen.mix(reads, writes, weights=[read, 1 - read]).rate(rate_hz),
        final=FinalReads(window),
        checker=causal_checker() & stats() & availability(),
        model="causal",
        operations=frozenset({"read", "write"}),
        keys_description="registers; values are unique in the run",
    )


def causal_reverse(*, rate_hz: float = 50.0, read: float = 0.3) -> Workload:
    """A read that has an element has all that were acknowledged before that one was added.

    Args:
        rate_hz: operations per second over all workers; every read is of the whole set.
        read: share of reads.

    Raises:
        ValueError: an option that leaves nothing to check.
    """
    check_share("read", read)
    reads = gen.repeat(gen.op("read"))
    adds = gen.writes([None], f="add")
    return Workload(
        name="causal-reverse",
        objects="scanned-set",
        generator=gen.mix(reads, adds, weights=[read, 1 - read]).rate(rate_hz),
        final=gen.each_thread(reads.limit(1)),
        checker=causal_reverse_checker() & stats() & availability(),
        model="causal-reverse",
        operations=frozenset({"add", "read"}),
        keys_description="one set; each element is a key",
    )
