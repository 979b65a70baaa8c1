"""The workload ``register``: reads, unique-valued writes and compare-and-set on many keys.

Each key is a register which must be linearizable: every operation seems to happen at one moment
between its invocation and its completion. Values written are unique in the whole run, so that
each read says which write it saw; that makes the check exact and quick (CHECKERS: zones per value)
however long the history is. Several clients work on each key, or there would be nothing to order.

Every other worker only reads. A worker whose write hangs on a node that is cut off does nothing
else until it gives up, and soon all workers of that node hang: then no worker would be left to
read what the node still answers, which is where stale reads are.

A database whose reads may be old says how old (``read_mode=bounded`` or ``stale`` of the reference
cluster); then a read may be of a state that old, and writes are linearizable as ever.

After healing every process reads every key: what was acknowledged must still be there.
"""

from __future__ import annotations

from checkers import linearizable, models
from checkers.core.checker import Checker
from checkers.judges.availability import availability
from checkers.judges.staleness import bounded_staleness
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.workload import Workload


def register(
    *,
    keys: int = 10,
    rate_hz: float = 200.0,
    read: float = 0.5,
    write: float = 0.3,
    cas: float = 0.2,
) -> Workload:
    """Linearizable registers.

    Args:
        keys: how many.
        rate_hz: operations per second over all workers.
        read, write, cas: how often each is done, relative to the others; 0 for never. Since half
            of the workers only read, reads are at least about half of all operations.

    Raises:
        ValueError: shares that leave nothing to check.
    """
    shares = {"read": read, "write": write, "cas": cas}
    for name, share in shares.items():
        if share < 0:
            raise ValueError(f"option {name} is {share:g}; a share cannot be negative")
    if not read:
        raise ValueError("option read is 0; without reads there is nothing to check")
    if not write and not cas:
        raise ValueError("options write and cas are both 0; then there is nothing to read")
    weights = [_reads_of_writers(read, write + cas), write, cas]
    writers = gen.mix(gen.reads(keys), gen.writes(keys), gen.cas(keys), weights=weights)
    mixture = gen.any(
        gen.on_threads(_only_reads, gen.reads(keys)), gen.on_threads(_also_writes, writers)
    )
    return Workload(
        name="register",
        generator=mixture.rate(rate_hz),
        final=gen.each_thread(gen.reads(keys)),
        checker=linearizable(models.cas_register()) & stats() & availability(),
        model="cas-register",
        reads=frozenset({"read"}),
        judge_old_reads=_old_reads,
        refusals=("the value", "the version", "there is"),
        operations=frozenset(name for name, share in shares.items() if share),
        keys_description="registers; values are unique in the run",
    )


def _old_reads(within_s: float) -> Checker:
    return bounded_staleness(bound_s=within_s) & stats() & availability()


def _only_reads(thread: int | str) -> bool:
    """Odd workers: with an odd number of nodes they reach all of them."""
    return isinstance(thread, int) and thread % 2 == 1


def _also_writes(thread: int | str) -> bool:
    return isinstance(thread, int) and thread % 2 == 0


def _reads_of_writers(read: float, others: float) -> float:
    """Weight of reads among the workers that also write, beside ``others`` for all else.

    The readers do about half of all operations, so these workers need ``2 * share - 1`` reads for
    the share asked for; but always some, for there may be one worker only.
    """
    share = read / (read + others)
    own = max(2 * share - 1, share / 4)
    return own / (1 - own) * others
