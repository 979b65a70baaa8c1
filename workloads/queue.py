"""The workload ``queue``: values go into queues and come out; in the end everything comes out.

Every value is enqueued once. A value that comes out of nowhere, or that was acknowledged and never
comes out, is a violation; one that comes out twice is one too with ``exactly_once``, which is not
what queues with redelivery promise.

After healing every worker drains every queue: only then can be said what was lost. A dequeue of
unknown outcome may have taken a value that no client will ever see, so the checker
forgives that many losses.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.queue import total_queue
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_share
from workloads.workload import Workload


def queue(
    *,
    keys: int = 3,
    rate_hz: float = 60.0,
    enqueue: float = 0.5,
    exactly_once: bool = False,
) -> Workload:
    """Queues.

    Args:
        keys: how many.
        rate_hz: operations per second over all workers.
        enqueue: share of enqueues among the operations.
        exactly_once: whether a value that comes out twice is a violation.

    Raises:
        ValueError: a share that leaves nothing to check.
    """
    check_share("enqueue", enqueue)
    mixture = gen.mix(
        gen.writes(keys, f="enqueue"),
        gen.reads(keys, f="dequeue"),
        weights=[enqueue, 1 - enqueue],
    )
    return Workload(
        name="queue",
        objects="queue",
        generator=mixture.rate(rate_hz),
        final=gen.each_thread(gen.reads(keys, f="drain")),
        checker=total_queue(exactly_once=exactly_once) & stats() & availability(),
        model="total-queue",
        reads=frozenset(),
        operations=frozenset({"enqueue", "dequeue", "drain"}),
        keys_description="queues; values are unique in the run",
    )
