"""Transactional isolation: Elle's method on columns, and solvers where versions are unknown.

    list_append(consistency_models=...)   traceable appends: linear time, exact
    rw_register(...)                      registers with unique writes: versions from what is given
    serial(level)                         serializability or snapshot isolation, versions unknown
    weak(level)                           read committed, read atomic, causal, versions unknown

Each returns a checker, a callable ``(history, *, budget=None) -> Result``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Imported before the functions of the same names are defined: importing a submodule binds its name
# in the package, which would replace the function the first time a checker runs.
import checkers.transactions.list_append
import checkers.transactions.rw_register
import checkers.transactions.serial
import checkers.transactions.weak  # noqa: F401
from checkers.budget import Budget, Meter
from checkers.collector import collector_paused
from checkers.history import History
from checkers.transactions.txns import REGISTER_WRITES
from checkers.verdict import Result

SERIAL_LEVELS = ("serializable", "snapshot-isolation")
WEAK_LEVELS = ("read-committed", "read-atomic", "causal")


def list_append(
    *, consistency_models: Sequence[str] = ("strict-serializable",)
) -> Callable[..., Result]:
    """A checker for list-append histories.

    Args:
        consistency_models: what the system claims; see :mod:`checkers.transactions.consistency`.

    Raises:
        ValueError: a model's name is unknown.
    """
    from checkers.transactions.consistency import canonical

    models = tuple(canonical(model) for model in consistency_models)

    def check(history: History, *, budget: Budget | None = None) -> Result:
        from checkers.transactions.judge import judge
        from checkers.transactions.list_append import ListAppend
        from checkers.transactions.txns import columns

        meter = Meter(budget)
        with collector_paused():
            result = judge(
                ListAppend(
                    columns(history, writes=("append",), model="list-append"),
                    initial_known="workload" in history.header,
                ),
                checker="list-append",
                consistency_models=models,
                budget=meter.left(),
            )
        result.elapsed_s = round(meter.elapsed_s, 6)
        return result

    check.name = "list-append"  # type: ignore[attr-defined]
    return check


def rw_register(
    *,
    consistency_models: Sequence[str] = ("strict-serializable",),
    wfr_keys: bool = False,
    sequential_keys: bool = False,
    linearizable_keys: bool = False,
) -> Callable[..., Result]:
    """A checker for read-write register histories with unique writes.

    Args:
        consistency_models: what the system claims.
        wfr_keys: a transaction's write of a key follows its read of it.
        sequential_keys: each key is sequentially consistent.
        linearizable_keys: each key is linearizable.

    Raises:
        ValueError: a model's name is unknown.
    """
    from checkers.transactions.consistency import canonical

    models = tuple(canonical(model) for model in consistency_models)

    def check(history: History, *, budget: Budget | None = None) -> Result:
        from checkers.transactions.judge import judge
        from checkers.transactions.rw_register import RwRegister, VersionRules
        from checkers.transactions.txns import columns

        rules = VersionRules(
            wfr_keys=wfr_keys,
            sequential_keys=sequential_keys,
            linearizable_keys=linearizable_keys,
            initial_known="workload" in history.header,
        )
        meter = Meter(budget)
        with collector_paused():
            result = judge(
                RwRegister(
                    columns(history, writes=REGISTER_WRITES, model="rw-register"), rules=rules
                ),
                checker="rw-register",
                consistency_models=models,
                budget=meter.left(),
            )
        result.elapsed_s = round(meter.elapsed_s, 6)
        return result

    check.name = "rw-register"  # type: ignore[attr-defined]
    return check


def serial(level: str = "serializable") -> Callable[..., Result]:
    """A checker for register histories whose version order is unknown and has to be searched.

    Args:
        level: ``serializable`` or ``snapshot-isolation``.

    Raises:
        ValueError: no such level.
    """
    if level not in SERIAL_LEVELS:
        raise ValueError(f"level {level!r} is none of {', '.join(SERIAL_LEVELS)}")

    def check(history: History, *, budget: Budget | None = None) -> Result:
        from checkers.transactions.serial import check_serial

        with collector_paused():
            return check_serial(history, level, budget=budget)

    check.name = level  # type: ignore[attr-defined]
    return check


def weak(level: str = "causal") -> Callable[..., Result]:
    """A checker for register histories against a weak isolation level, in near-linear time.

    Args:
        level: ``read-committed``, ``read-atomic`` or ``causal``.

    Raises:
        ValueError: no such level.
    """
    if level not in WEAK_LEVELS:
        raise ValueError(f"level {level!r} is none of {', '.join(WEAK_LEVELS)}")

    def check(history: History, *, budget: Budget | None = None) -> Result:
        from checkers.transactions.weak import check_weak

        with collector_paused():
            return check_weak(history, level, budget=budget)

    check.name = level  # type: ignore[attr-defined]
    return check
