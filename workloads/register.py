"""The workload ``register``: reads, unique-valued writes and compare-and-set on many keys.

Each key is a register which must be linearizable: every operation seems to happen at one moment
between its invocation and its completion. Values written are unique in the whole run, so that
each read says which write it saw; that makes the check exact and quick (CHECKERS: zones per value)
however long the history is. Several clients work on each key, or there would be nothing to order.

After healing every process reads every key: what was acknowledged must still be there.
"""

from __future__ import annotations

from checkers import linearizable, models
from checkers.availability import availability
from checkers.stats import stats
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
        read, write, cas: how often each is done, relative to the others; 0 for never.

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
    mixture = gen.mix(gen.reads(keys), gen.writes(keys), gen.cas(keys), weights=[*shares.values()])
    return Workload(
        name="register",
        generator=mixture.rate(rate_hz),
        final=gen.each_thread(gen.reads(keys)),
        checker=linearizable(models.cas_register()) & stats() & availability(),
        model="cas-register",
        reads=frozenset({"read"}),
        operations=frozenset(name for name, share in shares.items() if share),
        keys_description="registers; values are unique in the run",
    )
