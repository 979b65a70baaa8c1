"""The workload ``election``: candidates campaign, act as the leader, and resign.

A candidate campaigns until it leads, acts a few times on a resource outside the system, under the
token of its leadership (its term), and resigns. A leader that was stopped goes on acting and does
not know that another leads by now; a resource that refuses tokens older than the newest it has seen
keeps it out. The checks are on terms and acts: terms grow from one leader to the next, each
belongs to one candidate, each act is in the name of a leadership that its candidate won, and no act
of an earlier term was accepted after one of a later term.

Without ``fencing`` acts carry no token, and what is checked is that one candidate leads at a time.
No election on leases can promise that when leaders are paused: see the workload ``lock``.

Source: the Lease pattern; Kleppmann, How to do distributed locking, 2016; etcd's election recipe.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.election import election as election_checker
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_positive
from workloads.lock import REFUSALS, Holder, Words
from workloads.workload import Workload

ELECTION = Words("campaign", "act", "resign")
#: A leader acts so often at most before it resigns.
ACTS_MAX = 3


def election(
    *, keys: int = 6, rate_hz: float = 50.0, lead_s: float = 0.15, fencing: bool = True
) -> Workload:
    """Elections.

    Args:
        keys: how many elections, each with a resource of its own.
        rate_hz: operations per second over all workers, at most.
        lead_s: how long a leader rests at most before it acts; an act takes half as long at most.
        fencing: whether leaders act under their tokens, and only that is checked.

    Raises:
        ValueError: a duration that is none.
    """
    check_positive(lead_s=lead_s)
    routine = Holder(gen.key_names(keys), lead_s, fencing, ELECTION, ACTS_MAX)
    return Workload(
        name="election",
        objects="election",
        generator=gen.each_thread(routine).rate(rate_hz),
        checker=election_checker(exclusive=not fencing) & stats() & availability(),
        model="election",
        reads=frozenset(),
        refusals=REFUSALS,
        operations=frozenset(ELECTION),
        keys_description="elections, each with a resource" + (" that is fenced" if fencing else ""),
    )
