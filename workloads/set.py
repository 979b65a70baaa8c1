"""The workload ``set``: elements are added once each, and none that was acknowledged may vanish.

Adding needs nothing but a durable write, so this is the plainest question one can ask of a store:
is what it acknowledged still there? Reads return the whole set. With ``linearizable`` an element
must be in every read that began after its addition was acknowledged; without, a read may be late
but nothing may be lost.

After healing every worker reads every set.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.set import set_full
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_share, readers_beside
from workloads.workload import Workload


def set_workload(
    *, keys: int = 5, rate_hz: float = 100.0, read: float = 0.1, linearizable: bool = True
) -> Workload:
    """Sets that only grow.

    Args:
        keys: how many sets.
        rate_hz: operations per second over all workers.
        read: share of reads; each returns a whole set, so few are enough.
        linearizable: whether a read that misses an element acknowledged before is a violation even
            if the element is there later.

    Raises:
        ValueError: a share that leaves nothing to check.
    """
    check_share("read", read)
    adds = gen.writes(keys, f="add")
    reads = gen.reads(keys)
    readers = gen.mix(reads, adds, weights=[2 * read, max(0.0, 1 - 2 * read)])
    return Workload(
        name="set",
        objects="set",
        generator=readers_beside(readers, adds).rate(rate_hz)
        if read < 0.5
        else gen.mix(reads, adds, weights=[read, 1 - read]).rate(rate_hz),
        final=gen.each_thread(gen.reads(keys)),
        checker=set_full(linearizable=linearizable) & stats() & availability(),
        model="set-full",
        operations=frozenset({"add", "read"}),
        keys_description="sets; elements are unique in the run",
    )
