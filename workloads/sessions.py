"""The workload ``sessions``: what one session saw or wrote, it must not then miss.

The weakest promise that replicated stores make, and what they keep when reads are answered by any
replica: read your writes, monotonic reads, monotonic writes, writes follow reads. A session is a
process, which stays with its node unless its client decides otherwise. Each even worker also
writes, so that it has writes of its own to read.

After healing every process reads every key.
"""

from __future__ import annotations

from checkers.judges.availability import availability
from checkers.judges.sessions import GUARANTEES, session_guarantees
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_share, models_of, readers_beside
from workloads.workload import Workload


def sessions(
    *,
    keys: int = 5,
    rate_hz: float = 150.0,
    read: float = 0.5,
    guarantees: str = ",".join(GUARANTEES),
) -> Workload:
    """Session guarantees.

    Args:
        keys: how many registers.
        rate_hz: operations per second over all workers.
        read: share of reads among the operations of the workers that also write.
        guarantees: which are checked, with commas.

    Raises:
        ValueError: an unknown guarantee, or a share that leaves nothing to check.
    """
    check_share("read", read)
    writers = gen.mix(gen.reads(keys), gen.writes(keys), weights=[read, 1 - read])
    check = session_guarantees(guarantees=models_of(guarantees))
    return Workload(
        name="sessions",
        generator=readers_beside(gen.reads(keys), writers).rate(rate_hz),
        final=gen.each_process(gen.reads(keys)),
        checker=check & stats() & availability(),
        model="session-guarantees",
        operations=frozenset({"read", "write"}),
        keys_description="registers; values are unique in the run",
    )
