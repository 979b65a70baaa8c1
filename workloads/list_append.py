"""The workload ``list-append``: transactions that append to lists and read whole lists.

A list shows the order of its versions, so every dependency between transactions is known, and a
cycle among them proves which isolation level was broken. ``consistency_models`` is what the
database claims at the level it runs at; the answer also names the strongest that was not refuted.

Source: Kingsbury and Alvaro, Elle, VLDB 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

from checkers.core.checker import named
from checkers.isolation import list_append as list_append_checker
from workloads.common import (
    FinalTransactions,
    Transactions,
    Window,
    check_positive,
    check_share,
    models_of,
    transactional,
)
from workloads.workload import Workload


def list_append(
    *,
    keys: int = 5,
    rate_hz: float = 100.0,
    read: float = 0.5,
    length_max: int = 4,
    ops_per_key: int = 60,
    consistency_models: str | Sequence[str] = "strict-serializable",
) -> Workload:
    """Transactions over append-only lists.

    Args:
        keys: lists in use at a time; few, so that transactions meet.
        rate_hz: transactions per second over all workers.
        read: share of reads among the micro-operations.
        length_max: micro-operations of a transaction at most.
        ops_per_key: micro-operations after which a list is retired.
        consistency_models: what is claimed, as ``serializable`` or several with commas.

    Raises:
        ValueError: a consistency model's name is unknown, or options leave nothing to check.
    """
    check_positive(keys=keys, length_max=length_max, ops_per_key=ops_per_key)
    check_share("read", read)
    window = Window(keys, ops_per_key)
    claimed = models_of(consistency_models)
    check = named("list-append", list_append_checker(consistency_models=claimed))
    return transactional(
        name="list-append",
        objects="txn-list",
        generator=Transactions(window, "append", read, length_max).rate(rate_hz),
        final=FinalTransactions(window),
        checker=check,
        model="list-append",
        keys="append-only lists in transactions",
        claimed=claimed,
    )
