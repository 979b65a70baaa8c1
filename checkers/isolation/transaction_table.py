"""Transactions as columns: one row per transaction, one row per micro-operation.

A transactional history has operations whose value is a list of micro-operations ``[f, key,
value]``: ``["append", k, v]`` and ``["r", k, [v1, v2, ...]]`` for list-append, ``["w", k, v]`` and
``["r", k, v]`` for registers, and in both predicate reads ``["rp", predicate, result]`` (see
:mod:`checkers.isolation.predicates.matching`). Everything inferred later (who wrote what, who read
what version) is array arithmetic over the columns made here, in a handful of passes that run at the
speed of C: a million transactions take about a second.

An ``ok`` transaction is taken as its completion has it. Of an ``info`` or ``fail`` transaction
only the writes are kept, from its invocation: what it read is unknown.

Histories of single operations are taken too: ``append``, ``write``/``w`` and ``read``/``r`` on a
key are transactions of one micro-operation.

Source: Kingsbury and Alvaro, *Elle: Inferring Isolation Anomalies from Experimental Observations*.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from types import NoneType
from typing import Any, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from checkers.core.budget import look
from checkers.history import FAIL, INFO, INVOKE, OK, History, HistoryError, freeze
from checkers.history.columns import short
from checkers.isolation.mops import (
    CHUNK,
    MICRO_OPS,
    PREDICATE,
    READ,
    WRITE,
    Flat,
    PredicateRead,
    packed,
    refuse,
)

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: the names of micro-operations that write a register
REGISTER_WRITES = ("w", "write")
#: why a checker that searches orders does not approve a history with predicate reads
PREDICATES_UNSEEN = (
    "no violation among the items that were read, but whether an order explains which keys "
    "predicate reads missed is open"
)


class Txns:
    """The columns.

    Args:
        history: where they came from.
        invoke, complete: history index of each transaction's events; complete is -1 if open.
        type: ``OK FAIL INFO`` per transaction.
        process: process code per transaction.
        mop_txn: transaction of each micro-operation, ascending.
        mop_kind: ``READ`` or ``WRITE``.
        mop_key: key code of each micro-operation.
        mop_value: its value: a list for reads of list-append, else any value.
        keys: what key codes stand for.
        predicates: the predicate reads that were answered, in order; the keys they returned are
            reads among the micro-operations.
    """

    def __init__(
        self,
        *,
        history: History,
        invoke: Ints,
        complete: Ints,
        type: npt.NDArray[np.int8],
        process: Ints,
        mop_txn: Ints,
        mop_kind: npt.NDArray[np.int8],
        mop_key: Ints,
        mop_value: list[Any],
        keys: list[object],
        predicates: Sequence[PredicateRead] = (),
    ) -> None:
        self.history = history
        self.invoke = invoke
        self.complete = complete
        self.type = type
        self.process = process
        self.mop_txn = mop_txn
        self.mop_kind = mop_kind
        self.mop_key = mop_key
        self.mop_value = mop_value
        self.keys = keys
        self.predicates = list(predicates)

    def __len__(self) -> int:
        return len(self.invoke)

    def mops_of(self, txn: int) -> range:
        """Micro-operation rows of one transaction."""
        low, high = np.searchsorted(self.mop_txn, [txn, txn + 1])
        return range(int(low), int(high))

    def refuse(self, mop: int, why: str) -> NoReturn:
        """Raise the error about one micro-operation: its event, its number, and why.

        Raises:
            HistoryError: always.
        """
        txn = int(self.mop_txn[mop])
        event = int(self.complete[txn] if self.type[txn] == OK else self.invoke[txn])
        described = self.describe(txn)
        key, value = self.keys[self.mop_key[mop]], self.mop_value[mop]
        number = next(
            (n for n, (_, k, v) in enumerate(described) if k == key and v is value),
            mop - self.mops_of(txn).start,
        )
        name = ("r", "w")[int(self.mop_kind[mop])]
        shown = described[number] if number < len(described) else [name, key, value]
        refuse(event, number, shown, why)

    def describe(self, txn: int) -> list[list[object]]:
        """The transaction's micro-operations as the history has them."""
        names = {READ: "r", WRITE: "w"}
        done = int(self.complete[txn])
        source = self.history.values[done if done >= 0 else int(self.invoke[txn])]
        listed = isinstance(source, (list, tuple)) and len(source) > 0
        if listed and all(isinstance(mop, (list, tuple)) and len(mop) == 3 for mop in source):
            return [list(mop) for mop in source]
        return [
            [names[int(self.mop_kind[m])], self.keys[self.mop_key[m]], self.mop_value[m]]
            for m in self.mops_of(txn)
        ]


def columns(
    history: History,
    *,
    writes: Sequence[str] = ("append", "w", "write"),
    model: str = "a transaction",
) -> Txns:
    """The transactions of a history as columns.

    Args:
        history: operations whose values are lists of micro-operations, or single operations.
        writes: the names of micro-operations that write, in this model's vocabulary.
        model: its name, for messages.

    Raises:
        HistoryError: a value that is no list of micro-operations, or a completion that is not of
            its invocation; with the event and the micro-operation.
    """
    try:
        return _columns(history, writes, model)
    except RecursionError:
        raise HistoryError("the values are nested too deeply to be compared") from None


def _columns(history: History, writes: Sequence[str], model: str) -> Txns:
    invoke = history.invocations
    complete = history.pair[invoke]
    kind = history.outcomes()
    events = np.where(kind == OK, complete, invoke)
    single = len(invoke) > 0 and not _transactional(history)
    flat, silent = _flattened(history, events, Flat(writes, model, keyless=single), single=single)
    sizes = np.concatenate([np.empty(0, dtype=np.int64), *flat.sizes])
    mop_kind = np.concatenate([np.empty(0, dtype=np.int8), *flat.kinds])
    mop_txn = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    mop_key, table = intern(flat.keys.column())
    for code, key in enumerate(table):
        if (key is None and not single) or key != key:
            event = int(events[mop_txn[int(np.argmax(mop_key == code))]])
            raise HistoryError(
                f"a micro-operation's key is {key!r}, which names nothing", place=f"event {event}"
            )
    mop_values = flat.values
    unknown = kind != OK
    unknown[silent] = True
    if unknown.any():
        kept = np.flatnonzero((mop_kind == WRITE) | ~unknown[mop_txn])
        mop_values = [mop_values[m] for m in kept.tolist()]
        mop_txn, mop_kind, mop_key = mop_txn[kept], mop_kind[kept], mop_key[kept]
    return Txns(
        history=history,
        invoke=invoke,
        complete=complete,
        type=kind,
        process=history.process[invoke],
        mop_txn=mop_txn,
        mop_kind=mop_kind,
        mop_key=mop_key,
        mop_value=mop_values,
        keys=table,
        predicates=[p for p in flat.predicates if not unknown[p.txn]],
    )


def _flattened(
    history: History, events_of: Ints, flat: Flat, *, single: bool
) -> tuple[Flat, list[int]]:
    """All micro-operations, and the transactions that completed without saying what they read."""
    values = history.values
    silent: list[int] = []
    invoke = history.invocations
    for low in range(0, len(events_of), CHUNK):
        look()
        events = events_of[low : low + CHUNK].tolist()
        begun = invoke[low : low + CHUNK].tolist()
        lists = list(map(values.__getitem__, events))
        asked = list(map(values.__getitem__, begun))
        if single:
            lists, asked = _single(history, begun, lists, asked)
        if NoneType in set(map(type, lists)):
            for at, value in enumerate(lists):
                if value is None:
                    silent.append(low + at)
                    lists[at] = [] if asked[at] is None else asked[at]
        if NoneType in set(map(type, asked)):
            asked = [mine if mine is not None else done for mine, done in zip(asked, lists)]
        flat.extend(lists, asked, events, begun)
    return flat, silent


def _transactional(history: History) -> bool:
    """Whether operations carry lists of micro-operations (else they are single operations)."""
    if "txn" in history.functions:
        return True
    for value in history.values:
        if value is not None and not (isinstance(value, (list, tuple)) and not value):
            return are_micro_ops(value)
    return False


def starting_value(init: object, key: object) -> Any:
    """The initial value of a key; ``init`` is that value, or a dict of keys (or their text)."""
    if not isinstance(init, dict):
        return init
    named = {(type(name), freeze(name)): value for name, value in init.items()}
    return named.get((type(key), freeze(key)), init.get(str(key)))


def as_option(value: object) -> str:
    """A value as it is written behind ``--option name=``."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, msgspec.MsgspecError):
        return str(value)


def are_micro_ops(value: object) -> bool:
    """Whether a value is a list of micro-operations, which makes its operation a transaction."""
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(
            isinstance(mop, (list, tuple)) and len(mop) in (2, 3) and isinstance(mop[0], str)
            and mop[0] in MICRO_OPS
            for mop in value
        )
    )  # fmt: skip


def _single(
    history: History, invoke: list[int], outputs: list[object], asked: list[object]
) -> tuple[list[object], list[object]]:
    """Single operations on keys as transactions of one micro-operation."""
    lists: list[object] = []
    begun: list[object] = []
    for index, value, argument in zip(invoke, outputs, asked):
        f = history.functions[history.f[index]]
        if f not in MICRO_OPS or MICRO_OPS[f] not in (READ, WRITE):
            raise HistoryError(
                f"{f!r} with value {short(argument if value is None else value)} is no "
                "transaction; expected a list of micro-operations such as "
                "[['append', 'x', 1], ['r', 'y', None]]",
                place=f"event {index}",
            )
        code = int(history.key[index])
        key = None if code < 0 else history.keys[code]
        writes = MICRO_OPS[f] == WRITE
        lists.append([(f, key, argument if writes and value is None else value)])
        begun.append([(f, key, value if writes and argument is None else argument)])
    return lists, begun


def intern(items: Iterable[object] | Ints) -> tuple[Ints, list[object]]:
    """Codes for values in order of first appearance, and the table of values.

    Values of one exact type int or str are compared as they are; otherwise a value's type is part
    of it, so that 1, 1.0, True and "1" stay four values.
    """
    if not isinstance(items, np.ndarray):
        items = packed(items if isinstance(items, (list, tuple)) else list(items))
    if isinstance(items, np.ndarray):
        dense = _intern_dense(items)
        if dense is not None:
            return dense
    return _intern_any(items if isinstance(items, list) else items.tolist())


def _intern_any(items: list[object]) -> tuple[Ints, list[object]]:
    """:func:`intern` by dicts."""
    kinds = set(map(type, items))
    table: dict[Hashable, int]
    if kinds == {int} or kinds == {str}:
        table = {value: code for code, value in enumerate(dict.fromkeys(items))}
        codes = np.fromiter(map(table.__getitem__, items), dtype=np.int64, count=len(items))
        return codes, list(table)
    tokens = [(value.__class__, freeze(value)) for value in items]
    first: dict[Hashable, object] = {}
    for token, value in zip(tokens, items):
        first.setdefault(token, value)
    table = {token: code for code, token in enumerate(first)}
    codes = np.fromiter(map(table.__getitem__, tokens), dtype=np.int64, count=len(tokens))
    return codes, list(first.values())


def _intern_dense(array: Ints) -> tuple[Ints, list[Any]] | None:
    """:func:`intern` of integers that fill their range well enough for a look-up table."""
    if not len(array):
        return array, []
    low, high = int(array.min()), int(array.max())
    if high - low > 4 * len(array) + 1024:
        return None
    array = array - low
    count = len(array)
    first = np.full(high - low + 1, count, dtype=np.int64)
    first[array[::-1]] = np.arange(count - 1, -1, -1, dtype=np.int64)
    present = np.flatnonzero(first < count)
    present = present[np.argsort(first[present], kind="stable")]
    code = np.empty(high - low + 1, dtype=np.int64)
    code[present] = np.arange(len(present), dtype=np.int64)
    return code[array], (present + low).tolist()


def number(items: Sequence[object] | Ints) -> tuple[Ints, int]:
    """Codes for values, as :func:`intern` has them but in any order, and how many there may be."""
    if not isinstance(items, np.ndarray):
        items = packed(items)
    if isinstance(items, np.ndarray) and len(items):
        low, span = int(items.min()), int(items.max()) - int(items.min()) + 1
        if span <= 4 * len(items) + 1024:
            return items - low, span
    codes, table = intern(items)
    return codes, len(table)


def match_writes(
    *, keys: tuple[Ints, Ints], values: tuple[Ints, Ints], key_count: int, value_count: int
) -> tuple[Ints, Ints]:
    """The writer of each value: by look-up where codes are dense or values unique, else by sorting.

    Args:
        keys: key codes of the writes, and of what is asked for.
        values: value codes of the same.
        key_count, value_count: how many codes there are.

    Returns:
        for each (key, value) asked for the first write of it, or -1; and the writes of something
        that an earlier one wrote already.
    """
    (wrote_key, asked_key), (wrote_value, asked_value) = keys, values
    room = 4 * (len(wrote_key) + len(asked_key)) + 1024
    if value_count <= room:
        found, again = _look_up(wrote_value, asked_value, value_count)
        if not len(again):
            hit = found >= 0
            hit[hit] = wrote_key[found[hit]] == asked_key[hit]
            return np.where(hit, found, -1), again
    wrote = pairs_code(wrote_key, wrote_value, value_count)
    asked = pairs_code(asked_key, asked_value, value_count)
    if key_count * value_count <= room:
        return _look_up(wrote, asked, key_count * value_count)
    order = np.argsort(wrote, kind="stable")
    ranked = wrote[order]
    again = np.sort(order[1:][ranked[1:] == ranked[:-1]])
    found = np.full(len(asked), -1, dtype=np.int64)
    if len(order):
        at = np.minimum(np.searchsorted(ranked, asked), len(order) - 1)
        hit = ranked[at] == asked
        found[hit] = order[at[hit]]
    return found, again


def _look_up(wrote: Ints, asked: Ints, span: int) -> tuple[Ints, Ints]:
    """:func:`match_writes` of codes below ``span``."""
    count = len(wrote)
    first = np.full(span, -1, dtype=np.int64)
    first[wrote[::-1]] = np.arange(count - 1, -1, -1, dtype=np.int64)
    again = np.flatnonzero(first[wrote] != np.arange(count, dtype=np.int64))
    return first[asked], again


def pairs_code(key: Ints, value: Ints, value_count: int) -> Ints:
    """One integer for each (key code, value code)."""
    return key * np.int64(max(1, value_count)) + value


__all__ = [
    "FAIL", "INFO", "INVOKE", "OK", "PREDICATE", "READ", "WRITE", "Txns", "columns", "intern",
    "match_writes", "number", "packed", "pairs_code",
]  # fmt: skip
