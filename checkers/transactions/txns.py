"""Transactions as columns: one row per transaction, one row per micro-operation.

A transactional history has operations whose value is a list of micro-operations
``[f, key, value]``: ``["append", k, v]`` and ``["r", k, [v1, v2, ...]]`` for list-append,
``["w", k, v]`` and ``["r", k, v]`` for registers. Everything inferred later (who wrote
what, who read what version) is array arithmetic over the columns made here, in a handful of passes
that run at the speed of C: a million transactions take about a second.

An ``ok`` transaction is taken as its completion tells it. Of an ``info`` or ``fail`` transaction
only the writes are kept, from its invocation: what it read is unknown.

Histories of single operations are taken too: ``append``, ``write``/``w`` and ``read``/``r`` on a
key are transactions of one micro-operation.

Source: Kingsbury and Alvaro, *Elle: Inferring Isolation Anomalies from Experimental Observations*.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from checkers.history import FAIL, INFO, INVOKE, OK, History, HistoryError, freeze

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

READ, WRITE = 0, 1
#: micro-operation names, as Elle, Jepsen and we write them; append and w are both writes
MICRO_OPS = {"r": READ, "read": READ, "w": WRITE, "write": WRITE, "append": WRITE}


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
        keys: list[Any],
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

    def __len__(self) -> int:
        return len(self.invoke)

    def mops_of(self, txn: int) -> range:
        """Micro-operation rows of one transaction."""
        low, high = np.searchsorted(self.mop_txn, [txn, txn + 1])
        return range(int(low), int(high))

    def describe(self, txn: int) -> list[list[Any]]:
        """The transaction's micro-operations as the history tells them."""
        names = {READ: "r", WRITE: "w"}
        done = int(self.complete[txn])
        source = self.history.values[done if done >= 0 else int(self.invoke[txn])]
        if isinstance(source, (list, tuple)) and source and isinstance(source[0], (list, tuple)):
            return [list(mop) for mop in source]
        return [
            [names[int(self.mop_kind[m])], self.keys[self.mop_key[m]], self.mop_value[m]]
            for m in self.mops_of(txn)
        ]


def columns(history: History) -> Txns:
    """The transactions of a history as columns.

    Raises:
        HistoryError: a value that is no list of micro-operations, with the event.
    """
    invoke = history.invocations
    complete = history.pair[invoke]
    kind = history.outcomes()
    values = history.values
    told = np.where(kind == OK, complete, invoke)
    lists = [values[index] for index in told.tolist()]
    if len(invoke) and not _transactional(history):
        lists = _single(history, invoke.tolist(), lists)
    else:
        _fall_back(lists, values, invoke)
    try:
        sizes = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        flat = list(chain.from_iterable(lists))
        names, keys, mop_values = _unzip(flat)
        mop_kind = np.fromiter(map(MICRO_OPS.__getitem__, names), dtype=np.int8, count=len(flat))
    except (TypeError, ValueError, KeyError):
        raise _bad_micro_op(lists, told) from None
    mop_txn = np.repeat(np.arange(len(lists), dtype=np.int64), sizes)
    mop_key, table = intern(keys)
    keep = (mop_kind == WRITE) | (kind[mop_txn] == OK)
    if not keep.all():
        kept = np.flatnonzero(keep)
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
    )


def _transactional(history: History) -> bool:
    """Whether operations carry lists of micro-operations (else they are single operations)."""
    for value in history.values:
        if value is None:
            continue
        if not isinstance(value, (list, tuple)):
            return False
        if value:
            return isinstance(value[0], (list, tuple)) and len(value[0]) in (2, 3)
    return "txn" in history.functions


def _single(history: History, invoke: list[int], lists: list[Any]) -> list[Any]:
    """Single operations on keys as transactions of one micro-operation."""
    out: list[Any] = []
    for index, value in zip(invoke, lists):
        f = history.functions[history.f[index]]
        if f not in MICRO_OPS:
            raise HistoryError(
                f"{f!r} with value {value!r} is no transaction; expected a list of "
                "micro-operations such as [['append', 'x', 1], ['r', 'y', None]]",
                place=f"event {index}",
            )
        code = int(history.key[index])
        out.append([(f, None if code < 0 else history.keys[code], value)])
    return out


def _fall_back(lists: list[Any], values: Sequence[Any], invoke: Ints) -> None:
    """Where a completion has no value, the invocation's stands; no value at all is no micro-op."""
    if None in lists:
        for position, value in enumerate(lists):
            if value is None:
                told = values[invoke[position]]
                lists[position] = [] if told is None else told


def _unzip(flat: list[Any]) -> tuple[Sequence[Any], Sequence[Any], list[Any]]:
    if set(map(len, flat)) != {3}:
        raise ValueError("a micro-operation has three parts")
    names, keys, values = (list(map(itemgetter(part), flat)) for part in range(3))
    return names, keys, values


def _bad_micro_op(lists: list[Any], told: Ints) -> HistoryError:
    """The error for the first value that is no list of micro-operations."""
    for value, index in zip(lists, told.tolist()):
        mops = value if isinstance(value, (list, tuple)) else [value]
        for mop in mops:
            good = isinstance(mop, (list, tuple)) and len(mop) == 3
            if not good or not isinstance(mop[0], str) or mop[0] not in MICRO_OPS:
                return HistoryError(
                    f"{mop!r} is no micro-operation; expected [f, key, value] with f one of "
                    f"{', '.join(sorted(MICRO_OPS))}",
                    place=f"event {index}",
                )
    return HistoryError("the transactions' values have no common shape")


def intern(items: Iterable[Any]) -> tuple[Ints, list[Any]]:
    """Codes for values in order of first appearance, and the table of values.

    Values of one exact type int or str are compared as they are; otherwise a value's type is part
    of it, so that 1, 1.0, True and "1" stay four values.
    """
    items = items if isinstance(items, (list, tuple)) else list(items)
    kinds = set(map(type, items))
    table: dict[Any, int]
    if kinds == {int}:
        dense = _intern_dense(items)
        if dense is not None:
            return dense
    if kinds == {int} or kinds == {str}:
        table = {value: code for code, value in enumerate(dict.fromkeys(items))}
        codes = np.fromiter(map(table.__getitem__, items), dtype=np.int64, count=len(items))
        return codes, list(table)
    tokens = [(value.__class__, freeze(value)) for value in items]
    first: dict[Any, Any] = {}
    for token, value in zip(tokens, items):
        first.setdefault(token, value)
    table = {token: code for code, token in enumerate(first)}
    codes = np.fromiter(map(table.__getitem__, tokens), dtype=np.int64, count=len(tokens))
    return codes, list(first.values())


def _intern_dense(items: Sequence[int]) -> tuple[Ints, list[Any]] | None:
    """:func:`intern` of integers that fill their range well enough for a look-up table."""
    try:
        array = np.array(items, dtype=np.int64)
    except OverflowError:
        return None
    low, high = int(array.min()), int(array.max())
    if high - low > 4 * len(array) + 1024:
        return None
    array -= low
    count = len(array)
    first = np.full(high - low + 1, count, dtype=np.int64)
    first[array[::-1]] = np.arange(count - 1, -1, -1, dtype=np.int64)
    present = np.flatnonzero(first < count)
    present = present[np.argsort(first[present], kind="stable")]
    code = np.empty(high - low + 1, dtype=np.int64)
    code[present] = np.arange(len(present), dtype=np.int64)
    return code[array], (present + low).tolist()


def pairs_code(key: Ints, value: Ints, value_count: int) -> Ints:
    """One integer for each (key code, value code)."""
    return key * np.int64(max(1, value_count)) + value


__all__ = [
    "FAIL", "INFO", "INVOKE", "OK", "READ", "WRITE", "Txns", "columns", "intern", "pairs_code",
]  # fmt: skip
