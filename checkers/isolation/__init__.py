"""Transactional isolation: Elle's method on columns; a search for orders that are unknown.

    list_append(consistency_models=...)   traceable appends: linear time, exact
    rw_register(...)                      registers with unique writes: versions from what is given
    serial(level)                         serializability or snapshot isolation, versions unknown
    weak(level)                           read committed, read atomic, causal, versions unknown

Each returns a checker, a callable ``(history, *, budget=None) -> Result``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from checkers import known_order
from checkers.core.budget import Budget, Meter
from checkers.core.garbage_collection import collector_paused
from checkers.core.verdict import Result
from checkers.core.vocabulary import Vocabulary
from checkers.history import History
from checkers.isolation.transaction_table import REGISTER_WRITES

if TYPE_CHECKING:
    from checkers.isolation.isolation import Inference

SERIAL_LEVELS = ("serializable", "snapshot-isolation")
WEAK_LEVELS = ("read-committed", "read-atomic", "causal")

#: The vocabulary: transactions, of any operation name, and single operations.
APPENDS = Vocabulary(frozenset(("txn", "append", "r", "read")), micro_operations=True)
REGISTERS = Vocabulary(
    frozenset(("txn", *REGISTER_WRITES, "r", "read")), micro_operations=True, registers=True
)


def list_append(
    *, consistency_models: Sequence[str] = ("strict-serializable",), init: object = None
) -> Callable[..., Result]:
    """A checker for list-append histories.

    Args:
        consistency_models: what the system claims; see :mod:`checkers.isolation.consistency`.
        init: what every list held at first, if not nothing; or a dict of keys to that.

    Raises:
        ValueError: a model's name is unknown, or ``init`` is no list.
    """
    from checkers.isolation.consistency import canonical

    models = tuple(canonical(model) for model in consistency_models)
    for said in init.values() if isinstance(init, dict) else (init,):
        if said is not None and not isinstance(said, (list, tuple)):
            raise ValueError(f"init is {said!r}; a list holds a list at first, such as [1]")

    def check(history: History, *, budget: Budget | None = None) -> Result:
        from checkers.isolation.inference.list_append import ListAppend
        from checkers.isolation.transaction_table import columns

        known = known_order.known(history, models)
        if known != models:
            weaker = list_append(consistency_models=known, init=init)
            return known_order.doubted(weaker(history, budget=budget), models, known)

        def infer() -> ListAppend:
            return ListAppend(columns(history, writes=("append",), model="list-append"), init=init)

        return _judged(infer, "list-append", models, budget)

    return _declared(check, "list-append", APPENDS)


def rw_register(
    *,
    consistency_models: Sequence[str] = ("strict-serializable",),
    wfr_keys: bool = False,
    sequential_keys: bool = False,
    linearizable_keys: bool = False,
    init: object = None,
) -> Callable[..., Result]:
    """A checker for read-write register histories with unique writes.

    Args:
        consistency_models: what the system claims.
        wfr_keys: a transaction's write of a key follows its read of it, at every level; from read
            committed up that is so anyhow.
        sequential_keys: each key is sequentially consistent, also at levels that promise less.
        linearizable_keys: each key is linearizable.
        init: the value of every key before any write; or a dict of keys to theirs.

    Raises:
        ValueError: a model's name is unknown.
    """
    from checkers.isolation.consistency import canonical

    models = tuple(canonical(model) for model in consistency_models)

    def check(history: History, *, budget: Budget | None = None) -> Result:
        from checkers.isolation.inference.rw_register import RwRegister, VersionRules
        from checkers.isolation.transaction_table import columns

        known = known_order.known(history, models)
        if known != models:
            weaker = rw_register(
                consistency_models=known,
                wfr_keys=wfr_keys,
                sequential_keys=sequential_keys,
                linearizable_keys=linearizable_keys,
                init=init,
            )
            return known_order.doubted(weaker(history, budget=budget), models, known)
        if models in UNORDERED and not history.header.get("realtime", True):
            return UNORDERED[models](init=init)(history, budget=budget)
        rules = VersionRules(
            wfr_keys=wfr_keys or models != ("read-uncommitted",),
            sequential_keys=sequential_keys,
            linearizable_keys=linearizable_keys,
            initial=_starting(history, init),
        )

        def infer() -> RwRegister:
            txns = columns(history, writes=REGISTER_WRITES, model="rw-register")
            return RwRegister(txns, rules=rules)

        return _judged(infer, "rw-register", models, budget)

    return _declared(check, "rw-register", REGISTERS)


def _judged(
    infer: Callable[[], Inference], name: str, models: tuple[str, ...], budget: Budget | None
) -> Result:
    """Infer and check, within one budget and with the garbage collector paused."""
    from checkers.isolation.isolation import check_levels

    meter = Meter(budget)
    with collector_paused():
        result = check_levels(infer(), checker=name, consistency_models=models, budget=meter.left())
    result.elapsed_s = round(meter.elapsed_s, 6)
    return result


def _declared(
    check: Callable[..., Result], name: str, vocabulary: Vocabulary
) -> Callable[..., Result]:
    """The check with the name and the vocabulary that ``as_checker`` looks for."""
    check.name = name  # type: ignore[attr-defined]
    check.vocabulary = vocabulary  # type: ignore[attr-defined]
    return check


def _starting(history: History, init: object) -> object:
    """The initial values of the keys, as the history gives them: some importers make it nil."""
    return None if init == history.header.get("nil") else init


def serial(level: str = "serializable", *, init: object = None) -> Callable[..., Result]:
    """A checker for register histories whose version order is unknown and has to be searched.

    Args:
        level: ``serializable`` or ``snapshot-isolation``; sessions count.
        init: the value of every key before any write; or a dict of keys to theirs.

    Raises:
        ValueError: no such level.
    """
    _require_level(level, SERIAL_LEVELS)

    def check(history: History, *, budget: Budget | None = None) -> Result:
        from checkers.isolation.serializability.serial import check_serial

        with collector_paused():
            return check_serial(history, level, init=_starting(history, init), budget=budget)

    return _declared(check, level, REGISTERS)


def weak(level: str = "causal", *, init: object = None) -> Callable[..., Result]:
    """A checker for register histories against a weak isolation level, in near-linear time.

    Args:
        level: ``read-committed``, ``read-atomic`` or ``causal``; sessions count.
        init: the value of every key before any write; or a dict of keys to theirs.

    Raises:
        ValueError: no such level.
    """
    _require_level(level, WEAK_LEVELS)

    def check(history: History, *, budget: Budget | None = None) -> Result:
        from checkers.isolation.weak_levels import check_weak

        with collector_paused():
            return check_weak(history, level, init=_starting(history, init), budget=budget)

    return _declared(check, level, REGISTERS)


def _require_level(level: str, levels: tuple[str, ...]) -> None:
    if level not in levels:
        raise ValueError(f"level {level!r} is none of {', '.join(levels)}")


#: Levels of histories without real time, for which sessions are part of every level.
UNORDERED: Mapping[tuple[str, ...], Callable[..., Callable[..., Result]]] = {
    **{(level,): partial(serial, level) for level in SERIAL_LEVELS},
    **{(level,): partial(weak, level) for level in WEAK_LEVELS},
}
