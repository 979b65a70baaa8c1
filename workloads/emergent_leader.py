"""The workload ``emergent-leader``: workers ask the singleton to act, wherever it is.

A cluster without elections has one node that may act, and every act carries a fencing token. Each
worker asks its own node, or where that sends it, for an ``act`` with a value of its own. The
promise is that no two acts have the same token, and that an act begun after another was answered
has the greater one: a resource that looks at tokens is written to by one node at a time, even while
several believe that they lead. A partition into two sides that both act breaks it at once.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.lock import lock
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.workload import Workload


def emergent_leader(*, rate_hz: float = 50.0) -> Workload:
    """Acts of the singleton.

    Args:
        rate_hz: operations per second over all workers.
    """
    return Workload(
        name="emergent-leader",
        objects="singleton",
        generator=gen.writes(1, f="act").rate(rate_hz),
        final=gen.each_thread(gen.once(gen.writes(1, f="act"))),
        checker=lock(exclusive=False) & stats() & availability(),
        model="fencing",
        reads=frozenset(),
        operations=frozenset({"act"}),
        keys_description="one singleton; values are unique in the run",
    )
