"""The workload ``rw-register``: transactions that read and write registers.

Written values are unique. A register does not tell its history, so a transaction reads each key
before it writes it: then the version it replaced is known, and two that replaced the same one are a
lost update. ``linearizable_keys`` vouches that each key alone is linearizable, which orders more
versions and so finds more.

Source: Kingsbury and Alvaro, Elle, VLDB 2020, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from checkers.core.checker import named
from checkers.isolation import rw_register as rw_register_checker
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


def rw_register(
    *,
    keys: int = 5,
    rate_hz: float = 100.0,
    read: float = 0.5,
    length_max: int = 4,
    ops_per_key: int = 100,
    linearizable_keys: bool = False,
    consistency_models: str | Sequence[str] = "strict-serializable",
) -> Workload:
    """Transactions over registers.

    Args:
        keys: registers in use at a time; few, so that transactions meet.
        rate_hz: transactions per second over all workers.
        read: share of reads among the micro-operations, beside those that precede writes.
        length_max: micro-operations of a transaction at most, beside those.
        ops_per_key: micro-operations after which a register is retired.
        linearizable_keys: whether each key alone is linearizable.
        consistency_models: what is claimed, as ``serializable`` or several with commas.

    Raises:
        ValueError: a consistency model's name is unknown, or options leave nothing to check.
    """
    check_positive(keys=keys, length_max=length_max, ops_per_key=ops_per_key)
    check_share("read", read)
    window = Window(keys, ops_per_key)
    claimed = models_of(consistency_models)
    check = rw_register_checker(
        consistency_models=claimed, wfr_keys=True, linearizable_keys=linearizable_keys
    )
    transactions = Transactions(window, "w", read, length_max, read_first=True)
    return transactional(
        name="rw-register",
        objects="txn-register",
        generator=transactions.rate(rate_hz),
        final=FinalTransactions(window),
        checker=named("rw-register", check),
        model="rw-register",
        keys="registers in transactions",
        claimed=claimed,
    )
