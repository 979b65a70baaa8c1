"""The workload ``long-fork``: two readers who see two writes in opposite orders.

Each register is written once. Writers write single registers; readers read a whole group of them in
one transaction. Snapshot isolation and all above order any two reads of a group by what they saw;
parallel snapshot isolation, and copies that are each right for themselves, do not.

Source: the ``long-fork`` test of Jepsen.
"""

from __future__ import annotations

from typing import Any

from checkers.judges.long_fork import long_fork as long_fork_checker
from workloads.common import check_positive, check_share, transactional
from workloads.generator.base import PENDING, Context, Generator, Step
from workloads.workload import Workload


class WritesAndGroups(Generator, frozen=True):
    """Writes of registers never written before, and reads of the groups in use.

    Args:
        group: registers of a group.
        read_share: how many transactions read.
    """

    group: int
    read_share: float

    def op(self, test: Any, context: Context) -> Step:
        if context.free_thread() < 0:
            return PENDING, self
        drawn = next(context.values)
        if context.rng.random() >= self.read_share:
            return context.fill("txn", None, [["w", f"k{drawn}", drawn]]), self
        first = max(0, drawn // self.group - int(context.rng.random() * 2)) * self.group
        keys = [f"k{number}" for number in range(first, first + self.group)]
        return context.fill("txn", None, [["r", key, None] for key in keys]), self


def long_fork(*, rate_hz: float = 100.0, read: float = 0.6, group: int = 5) -> Workload:
    """Registers that are written once, and read in groups.

    Args:
        rate_hz: transactions per second over all workers.
        read: share of transactions that read.
        group: registers of a group, at least 2.

    Raises:
        ValueError: options that leave nothing to check.
    """
    check_positive(rate_hz=rate_hz)
    check_share("read", read)
    if group < 2:
        raise ValueError(f"option group is {group}; two writes can be seen in two orders")
    return transactional(
        name="long-fork",
        objects="txn-register",
        generator=WritesAndGroups(group, read).rate(rate_hz),
        final=None,
        checker=long_fork_checker(group_size=group),
        model="long-fork",
        keys=f"registers written once, read {group} at a time",
    )
