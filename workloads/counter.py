"""The workload ``counter``: additions and reads of a few counters.

An addition that is carried out twice, or lost after it was acknowledged, shows in every later read:
each must lie between what was committed when it began and what was possible when it ended.
Additions of unknown outcome widen the bounds for ever, so the fewer there are the sharper this is.

``exact`` decides linearizability as well, which finds more and may take long.
"""

from __future__ import annotations

from typing import Any

from checkers import linearizable, models
from checkers.judges.availability import availability
from checkers.judges.counter import counter as bounds
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_positive, check_share, readers_beside
from workloads.generator.base import Context, Generator, Step
from workloads.workload import Workload


class Adds(Generator, frozen=True):
    """Additions of small numbers to random counters, for ever."""

    keys: tuple[Any, ...]
    amount_max: int

    def op(self, test: Any, context: Context) -> Step:
        key = self.keys[int(context.rng.random() * len(self.keys))]
        amount = 1 + int(context.rng.random() * self.amount_max)
        return context.fill("add", key, amount), self


def counter(
    *,
    keys: int = 3,
    rate_hz: float = 100.0,
    read: float = 0.3,
    amount_max: int = 5,
    exact: bool = False,
) -> Workload:
    """Counters.

    Args:
        keys: how many.
        rate_hz: operations per second over all workers.
        read: share of reads among the operations of the workers that also add.
        amount_max: additions are of 1 up to this.
        exact: whether linearizability is decided too.

    Raises:
        ValueError: options that leave nothing to check.
    """
    check_share("read", read)
    check_positive(amount_max=amount_max)
    adds = Adds(gen.key_names(keys), amount_max)
    writers = gen.mix(gen.reads(keys), adds, weights=[read, 1 - read])
    checker = bounds() & stats() & availability()
    if exact:
        checker = linearizable(models.counter()) & checker
    return Workload(
        name="counter",
        objects="counter",
        generator=readers_beside(gen.reads(keys), writers).rate(rate_hz),
        final=gen.each_thread(gen.reads(keys)),
        checker=checker,
        model="counter",
        operations=frozenset({"add", "read"}),
        keys_description=f"counters from 0; additions of 1 to {amount_max}",
    )
