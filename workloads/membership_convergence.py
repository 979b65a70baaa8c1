"""The workload ``membership-convergence``: every node is asked whom it knows to live.

Members are found out by gossip, so while there are faults nodes may know different ones, and may
take the living for dead. What a group owes is to come together: when the last fault is over and
some time has passed, all nodes must name the same members, and these must be all nodes, since all
run again. An operation is a ``read`` at the node that the worker is at, which answers as it sees
things.

After healing the workers wait, and then each reads once more at its node.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.convergence import convergence
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_positive
from workloads.workload import Workload


def membership_convergence(*, rate_hz: float = 20.0, settle_s: float = 10.0) -> Workload:
    """Reads of who lives.

    Args:
        rate_hz: operations per second over all workers.
        settle_s: how long after healing the last reads are made.

    Raises:
        ValueError: a duration that is none.
    """
    check_positive(settle_s=settle_s)
    last = gen.seq([gen.sleep(settle_s), gen.op("read", key="members")])
    return Workload(
        name="membership-convergence",
        objects="members",
        generator=gen.repeat(gen.op("read", key="members")).rate(rate_hz),
        final=gen.each_thread(last),
        checker=convergence(settle_s=settle_s / 2, every_node=True) & stats() & availability(),
        model="convergence",
        operations=frozenset({"read"}),
        keys_description="one object: the members that the node asked knows to live",
    )
