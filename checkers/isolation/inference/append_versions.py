"""The version orders of lists: what each read returned, and who appended each element.

Problem. Inference needs the order of the versions of every key, and the append behind each element.

Solution. The longest list read of a key is the order of its versions. A key that was appended to
once, and that no read shows with an element, has that one version. The elements of all keys stand
behind one another in one column, so that all are matched with appends at once. Each append is
matched by (key, value).

Invariants. ``orders.writer_mop`` and ``write_pos`` are inverse to each other, except where an
element stands twice in one list. A key to which one value was appended twice is ambiguous: nothing
is matched on it.

What breaks without it: every dependency between transactions is read off these orders.

Source: Kingsbury and Alvaro, *Elle*, VLDB 2020, section 4 (traceability and recoverability).
"""

from __future__ import annotations

from array import array
from itertools import chain, compress
from typing import Any

import numpy as np

from checkers.core.budget import look
from checkers.history import FAIL, OK
from checkers.history.columns import short as shorten
from checkers.isolation.inference.version_orders import VersionOrders, as_list
from checkers.isolation.mops import VALUES_CHUNK
from checkers.isolation.transaction_table import (
    READ,
    WRITE,
    Bools,
    Ints,
    Txns,
    match_writes,
    number,
    packed,
    pairs_code,
)


class AppendVersions:
    """The reads, appends and version orders of one list-append history.

    Attributes:
        reads, writes: rows of the reads and appends among the micro-operations; int64.
        read_lists: what each read returned; (reads,).
        read_len: the lengths of those; int64, (reads,).
        longest: the order of the versions of each key, as a list; (keys,).
        lone: keys that were appended to once and never read with an element.
        ambiguous: keys to which one value was appended twice; bool, (keys,).
        orders: the version orders of all keys.
        element_code: a number for each (key, element) of the orders; int64, (elements,).
        write_pos: position of each append in the orders, or -1; int64, (micro-operations,).
        members: transactions in the graph: committed, or of unknown outcome and seen; bool,
            (transactions,).
        unclear: what makes inference impossible, as sentences.

    Args:
        txns: the transactions.

    Raises:
        HistoryError: a read returned no list, or a value is not a number (NaN).
    """

    def __init__(self, txns: Txns) -> None:
        self.txns = txns
        self.unclear: list[str] = []
        self.reads = np.flatnonzero(txns.mop_kind == READ)
        self.writes = np.flatnonzero(txns.mop_kind == WRITE)
        self.read_lists, self.read_len, written = self._split()
        self.orders = self._version_orders(written)
        self._positions()

    def _split(self) -> tuple[list[list[object]], Ints, list[object]]:
        """The list that each read returned; its length; the element of each append.

        Raises:
            HistoryError: a read returned something else.
        """
        is_read = (self.txns.mop_kind == READ).tobytes()
        is_write = (self.txns.mop_kind == WRITE).tobytes()
        lists: list[Any] = []
        written: list[object] = []
        sizes = array("q")
        # By chunks that stay in the processor's cache, since all is looked at several times.
        for low in range(0, len(is_read), VALUES_CHUNK):
            look()
            high = low + VALUES_CHUNK
            values = self.txns.mop_value[low:high]
            written += compress(values, is_write[low:high])
            some = list(compress(values, is_read[low:high]))
            if not set(map(type, some)) <= {list}:
                some = self._as_lists(some, len(lists))
            sizes += array("q", list(map(len, some)))
            lists += some
        return lists, np.frombuffer(sizes, dtype=np.int64), written

    def _as_lists(self, values: list[object], first: int) -> list[list[object]]:
        """The lists that some reads returned, from number ``first`` on."""
        for mop, value in zip(self.reads[first : first + len(values)].tolist(), values):
            if value is not None and not isinstance(value, (list, tuple)):
                self.txns.refuse(
                    mop,
                    f"read {shorten(value)} of a list; a list-append read returns a list, or null "
                    "for an empty one",
                )
        return list(map(as_list, values))

    def _version_orders(self, written: list[object]) -> VersionOrders:
        """Longest read of each key; its elements; who appended each."""
        txns = self.txns
        keys = len(txns.keys)
        longest = self._longest()
        lists = [self.read_lists[r] if r >= 0 else [] for r in longest.tolist()]
        self._lone_appends(lists)
        sizes = np.fromiter(map(len, lists), dtype=np.int64, count=keys)
        base = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        element = list(chain.from_iterable(lists))
        key = np.repeat(np.arange(keys, dtype=np.int64), sizes)
        self.longest = lists
        values = packed(element, written)
        if not isinstance(values, np.ndarray):
            self._require_values(values)
        codes, value_count = number(values)
        found, again = match_writes(
            keys=(txns.mop_key[self.writes], key),
            values=(codes[len(element) :], codes[: len(element)]),
            key_count=keys,
            value_count=value_count,
        )
        self._find_ambiguous(again)
        hit = (found >= 0) & ~self.ambiguous[key]
        writer = np.full(len(element), -1, dtype=np.int64)
        writer[hit] = self.writes[found[hit]]
        self.element_code = pairs_code(key, codes[: len(element)], value_count)
        witness = (
            np.where(longest >= 0, self.reads[np.maximum(longest, 0)], -1)
            if len(self.reads)
            else longest
        )
        return VersionOrders(
            base=base, key=key, element=element, writer_mop=writer, witness=witness
        )

    def _longest(self) -> Ints:
        """The read of each key with the longest list, the last of several; -1 for none."""
        key = self.txns.mop_key[self.reads]
        size = np.full(len(self.txns.keys), -1, dtype=np.int64)
        np.maximum.at(size, key, self.read_len)
        candidates = np.flatnonzero(self.read_len == size[key])
        longest = np.full(len(self.txns.keys), -1, dtype=np.int64)
        longest[key[candidates]] = candidates
        return longest

    def _require_values(self, values: list[object]) -> None:
        """Refuse not-a-number: it is not even itself, so no read can tell who wrote it."""
        if float not in set(map(type, values)):
            return
        for mop, said in enumerate(self.txns.mop_value):
            some = said if self.txns.mop_kind[mop] == READ else [said]
            if any(isinstance(value, float) and value != value for value in some or ()):
                self.txns.refuse(mop, "has a value that is not a number (NaN)")

    def _find_ambiguous(self, again: Ints) -> None:
        """Keys to which one value was appended twice: their reads do not tell who wrote."""
        txns = self.txns
        self.ambiguous = np.zeros(len(txns.keys), dtype=np.bool_)
        twice = self.writes[again]
        self.ambiguous[txns.mop_key[twice]] = True
        if len(twice):
            mop = int(twice[0])
            self.unclear.append(
                f"{len(twice)} values were appended more than once (such as "
                f"{txns.mop_value[mop]!r} to key {txns.keys[txns.mop_key[mop]]!r})"
                ", so reads do not tell who wrote them"
            )

    def _lone_appends(self, lists: list[list[object]]) -> None:
        """A key appended to once and never read non-empty has that one version."""
        txns = self.txns
        self.lone: set[int] = set()
        per_key = np.bincount(txns.mop_key[self.writes], minlength=len(txns.keys))
        lone = self.writes[per_key[txns.mop_key[self.writes]] == 1]
        for mop in lone[txns.type[txns.mop_txn[lone]] == OK].tolist():
            key = int(txns.mop_key[mop])
            if not lists[key]:
                lists[key] = [txns.mop_value[mop]]
                self.lone.add(key)

    def _positions(self) -> None:
        """Where each write stands in its key's order; which transactions are in the graph."""
        txns, orders = self.txns, self.orders
        self.write_pos = np.full(len(txns.mop_txn), -1, dtype=np.int64)
        known = orders.writer_mop >= 0
        self.write_pos[orders.writer_mop[known]] = np.flatnonzero(known)
        observed = np.zeros(len(txns), dtype=bool)
        observed[txns.mop_txn[orders.writer_mop[known]]] = True
        self.members: Bools = (txns.type == OK) | ((txns.type != FAIL) & observed)
