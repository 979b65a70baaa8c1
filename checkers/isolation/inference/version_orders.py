"""Lists and their version orders: what list-append inference is written in.

The order of the versions of a key is its longest read. :class:`VersionOrders` holds the orders of
all keys behind one another, so that "the next version" is the next position.

For :mod:`checkers.isolation.inference.list_append`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from checkers.isolation.transaction_table import Bools, Ints, Txns

#: Cases of one non-cyclic anomaly that are reported in full.
CASES_MAX = 8

T = TypeVar("T")


class VersionOrders:
    """The order of appends of every key, as columns over positions of all longest reads.

    Positions of one key are consecutive: key k has ``base[k] .. base[k + 1] - 1``.

    Args:
        base: first position of each key, and one more at the end.
        key: key code of each position.
        element: value at each position.
        writer_mop: the append that wrote it, or -1 if no transaction did.
        witness: for each key, the read micro-operation that has the longest list, or -1.
    """

    def __init__(
        self, *, base: Ints, key: Ints, element: list[object], writer_mop: Ints, witness: Ints
    ) -> None:
        self.base = base
        self.key = key
        self.element = element
        self.writer_mop = writer_mop
        self.witness = witness


class ListColumns(NamedTuple):
    """The version orders of a history's lists, from comparing their reads; never changed.

    Args:
        txns: the transactions.
        orders: the versions of every key.
        reads: rows of the reads among the micro-operations; int64, (reads,).
        read_lists: what each read returned.
        read_len: the lengths of those; int64, (reads,).
        is_prefix: which are a prefix of the longest read of their key; bool, (reads,).
        longest: the longest list of each key.
        write_pos: position of each append in the version orders, or -1; int64, (mops,).
        members: which transactions are in the graph; bool, (transactions,).
        ambiguous: keys to which one value was appended twice; bool, (keys,).
        excluded: those, and keys with an element twice in one list; bool, (keys,).
    """

    txns: Txns
    orders: VersionOrders
    reads: Ints
    read_lists: list[list[object]]
    read_len: Ints
    is_prefix: Bools
    longest: list[list[object]]
    write_pos: Ints
    members: Bools
    ambiguous: Bools
    excluded: Bools


def as_list(value: object) -> list[object]:
    """The value of a read as a list: None is the empty one."""
    if isinstance(value, list):
        return value
    if value is None:
        return []
    if isinstance(value, tuple):
        return list(value)
    return [value]


def spread(table: Sequence[T], codes: Ints) -> list[T]:
    """The entry of each code."""
    entries = np.fromiter(table, dtype=object, count=len(table))
    chosen: list[T] = entries[codes].tolist()
    return chosen


def next_usable(usable: Bools) -> Ints:
    """For each position the first usable one at or after it; their count if there is none."""
    count = len(usable)
    at = np.where(usable, np.arange(count), count)
    return np.minimum.accumulate(at[::-1])[::-1].astype(np.int64) if count else at


def short(values: list[object]) -> str:
    """A list for a sentence: its ends if it is long."""
    if len(values) <= 12:
        return repr(values)
    head = ", ".join(map(repr, values[:4]))
    tail = ", ".join(map(repr, values[-6:]))
    return f"[{head}, ... {len(values) - 10} more ..., {tail}]"
