"""The workload ``append``: single-key append-only lists, which must be linearizable.

Each operation appends a value unique in the run, or reads the whole list. A list shows its own
history: an append that happened twice, vanished, or moved is there for every later read to see. So
this finds what a register hides under the next write: duplicated retries, lost suffixes, two logs
that went different ways.

After healing every list there ever was is read once more, the last ones by every worker.
"""

from __future__ import annotations

from checkers import linearizable, models
from checkers.judges.availability import availability
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import FinalReads, Window, WindowOps, check_positive, check_share
from workloads.common import readers_beside as beside
from workloads.workload import Workload


def append(
    *, keys: int = 10, rate_hz: float = 100.0, read: float = 0.3, ops_per_key: int = 100
) -> Workload:
    """Linearizable append-only lists.

    Args:
        keys: lists in use at a time.
        rate_hz: operations per second over all workers.
        read: share of reads among the operations of the workers that also append.
        ops_per_key: operations after which a list is retired, so that none grows for ever.

    Raises:
        ValueError: an option that leaves nothing to check.
    """
    check_positive(keys=keys, ops_per_key=ops_per_key)
    check_share("read", read)
    window = Window(keys, ops_per_key)
    reads, appends = WindowOps(window, "read", False), WindowOps(window, "append", True)
    writers = gen.mix(reads, appends, weights=[read, 1 - read])
    return Workload(
        name="append",
        objects="list",
        generator=beside(reads, writers).rate(rate_hz),
        final=FinalReads(window),
        checker=linearizable(models.append_list()) & stats() & availability(),
        model="append-list",
        operations=frozenset({"append", "read"}),
        keys_description="append-only lists; values are unique in the run",
    )
