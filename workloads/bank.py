"""The workload ``bank``: transfers between accounts, and reads of all of them.

Money is neither made nor destroyed, so every read that sees all balances as of one moment sees the
same total. Read committed breaks this (a read sees half a transfer, or two transfers overwrite one
another), snapshot isolation and serializability keep it.

The first operation, ``open``, gives every account its balance; it is repeated until it was
acknowledged, so a database does it only for accounts that are not there.
"""

from __future__ import annotations

from typing import Any

from checkers.judges.availability import availability
from checkers.judges.bank import bank as bank_checker
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.common import check_positive, check_share
from workloads.generator.base import Context, Generator, Step
from workloads.workload import Workload


class Transfers(Generator, frozen=True):
    """Transfers of small amounts between two different accounts, for ever."""

    names: tuple[str, ...]
    amount_max: int

    def op(self, test: Any, context: Context) -> Step:
        rng, count = context.rng, len(self.names)
        source = int(rng.random() * count)
        target = (source + 1 + int(rng.random() * (count - 1))) % count
        amount = 1 + int(rng.random() * self.amount_max)
        value = {"from": self.names[source], "to": self.names[target], "amount": amount}
        return context.fill("transfer", None, value), self


def bank(
    *,
    keys: int = 8,
    rate_hz: float = 100.0,
    read: float = 0.4,
    balance: int = 10,
    amount_max: int = 5,
    negative_balances: bool = False,
) -> Workload:
    """Transfers between accounts.

    Args:
        keys: how many accounts, at least 2.
        rate_hz: operations per second over all workers.
        read: share of reads.
        balance: what each account has at the beginning.
        amount_max: transfers are of 1 up to this.
        negative_balances: whether a balance may be below zero.

    Raises:
        ValueError: options that make no bank.
    """
    if keys < 2:
        raise ValueError(f"option keys is {keys}; a transfer needs two accounts")
    check_share("read", read)
    check_positive(balance=balance, amount_max=amount_max)
    names = tuple(f"a{number}" for number in range(keys))
    total = keys * balance
    opening = gen.repeat(gen.op("open", value=dict.fromkeys(names, balance)))
    reads = gen.repeat(gen.op("read"))
    mixture = gen.mix(Transfers(names, amount_max), reads, weights=[1 - read, read])
    checker = bank_checker(total=total, accounts=names, negative_balances=negative_balances)
    return Workload(
        name="bank",
        objects="bank",
        generator=gen.phases(opening.stagger(0.1).until_ok(), mixture.rate(rate_hz)),
        final=gen.each_thread(reads.limit(2)),
        checker=checker & stats() & availability(),
        model="bank",
        refusals=("the balance",),
        operations=frozenset({"open", "transfer", "read"}),
        keys_description=f"{keys} accounts of {balance} each",
    )
