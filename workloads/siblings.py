"""The workload ``siblings``: every write replaces what its writer had read, and nothing else.

Keys hold siblings: elements that were stored without knowing of each other. Each worker stores
unique elements over those that it read last. An element that was acknowledged and not read by the
client that replaced it must still be there; a store that orders all writes by a clock keeps one of
them and loses the others. The report says which elements were lost, and what was written in their
place by a client that had not read them.

After healing every worker reads every key.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.siblings import siblings as judge
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_share
from workloads.workload import Workload


def siblings(
    *, keys: int = 5, rate_hz: float = 100.0, read: float = 0.5, linearizable: bool = True
) -> Workload:
    """Siblings.

    Args:
        keys: how many.
        rate_hz: operations per second over all workers.
        read: share of reads; the fewer there are, the older is what a store is over.
        linearizable: whether a read that misses an element known before is a violation even if the
            element is there later.

    Raises:
        ValueError: a share that leaves nothing to check.
    """
    check_share("read", read)
    operations = gen.mix(gen.reads(keys), gen.writes(keys, f="store"), weights=[read, 1 - read])
    return Workload(
        name="siblings",
        objects="siblings",
        generator=operations.rate(rate_hz),
        final=gen.each_thread(gen.reads(keys)),
        checker=judge(linearizable=linearizable) & stats() & availability(),
        model="siblings",
        operations=frozenset({"store", "read"}),
        keys_description="siblings; elements are unique in the run",
    )
