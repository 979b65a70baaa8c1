"""The workload ``unique-ids``: identifiers are asked for, and no two calls may get the same.

What breaks it is a counter that goes back: a number given out before it was durable, or by a leader
that had been deposed. After healing every worker asks a few times more, since a counter that fell
back gives old numbers again only now.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.stats import stats
from checkers.judges.unique_ids import unique_ids as unique
from workloads import generator as gen
from workloads.workload import Workload

#: Identifiers each worker asks for after healing.
FINAL_IDS = 20


def unique_ids(*, rate_hz: float = 200.0) -> Workload:
    """Unique identifiers.

    Args:
        rate_hz: operations per second over all workers.
    """
    ask = gen.op("generate")
    return Workload(
        name="unique-ids",
        objects="ids",
        generator=gen.repeat(ask).rate(rate_hz),
        final=gen.each_thread(gen.repeat(ask, count=FINAL_IDS)),
        checker=unique() & stats() & availability(),
        model="unique-ids",
        reads=frozenset(),
        operations=frozenset({"generate"}),
        keys_description="identifiers from one source",
    )
