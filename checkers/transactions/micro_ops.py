"""Transactions' values into flat columns, and what is malformed about them as one sentence.

A value is a list of micro-operations of three parts each. Millions of them are taken apart a chunk
at a time by the C loops of ``chain`` and slices, with no Python code per micro-operation; whatever
those passes do not find plain is looked at again one by one, and either is well-formed after all or
ends as a :class:`HistoryError` that names the event and the micro-operation.

What an ``ok`` completion tells must be what was invoked: as many micro-operations, of the same
functions and keys in the same order, and the same values written. A history in which they differ
was mixed up when it was recorded, and nothing can be concluded from it.

For :mod:`checkers.transactions.txns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, compress
from typing import Any, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from checkers.history import HistoryError
from checkers.history.columns import short
from checkers.transactions.predicates import items_of, matches, wrong_with

READ, WRITE, PREDICATE = 0, 1, 2
#: micro-operation names, as Elle, Jepsen and we write them; append and w are both writes
MICRO_OPS = {
    "r": READ,
    "read": READ,
    "w": WRITE,
    "write": WRITE,
    "append": WRITE,
    "rp": PREDICATE,
}
#: Transactions taken apart at a time: what is made in between stays in the processor's cache.
CHUNK = 2048


class PredicateRead(msgspec.Struct, frozen=True):
    """One predicate read of a committed transaction.

    Args:
        txn: its transaction.
        before: how many of the transaction's micro-operations, as columns count them, precede it.
        predicate: what was asked for.
        found: keys and values of the result.
    """

    txn: int
    before: int
    predicate: Any
    found: list[tuple[Any, Any]]


class Flat:
    """Micro-operations behind one another.

    Args:
        writes: the names that write in this vocabulary.
        model: what has this vocabulary, for messages.
        keyless: a key may be None: all is about one object.
    """

    def __init__(self, writes: Sequence[str], model: str, *, keyless: bool = False) -> None:
        allowed = {*writes, "r", "read", "rp"}
        self.codes = {name: code for name, code in MICRO_OPS.items() if name in allowed}
        self.plain = {name: code for name, code in self.codes.items() if code != PREDICATE}
        self.model = model
        self.keyless = keyless
        self.sizes: list[npt.NDArray[np.int64]] = []
        self.kinds: list[npt.NDArray[np.int8]] = []
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.predicates: list[PredicateRead] = []
        self.count = 0

    def extend(
        self, told: list[Any], asked: list[Any], events: Sequence[int], begun: Sequence[int]
    ) -> None:
        """Take a chunk of transactions.

        Args:
            told: what each did.
            asked: what its invocation said; the same object where there is nothing to compare.
            events: the event that told of each.
            begun: its invocation.

        Raises:
            HistoryError: a value that is no list of micro-operations, or not what was invoked.
        """
        parts = self._parts(told)
        if parts is None or not (told is asked or _alike(parts, told, asked)):
            self._one_by_one(told, asked, events, begun)
            return
        kinds, _, keys, values = parts
        sizes = np.fromiter(map(len, told), dtype=np.int64, count=len(told))
        self.sizes.append(sizes)
        self.kinds.append(np.frombuffer(kinds, dtype=np.int8))
        self.keys += keys
        self.values += values
        self.count += len(sizes)

    def _parts(self, lists: list[Any]) -> tuple[bytes, list[Any], list[Any], list[Any]] | None:
        """Kinds, names, keys and values of plain transactions; None if any is not plain."""
        if not set(map(type, lists)) <= {list, tuple}:
            return None
        flat = list(chain.from_iterable(lists))
        try:
            if not set(map(list.__len__, flat)) <= {3}:
                return None
        except TypeError:
            if not set(map(type, flat)) <= {list, tuple} or not set(map(len, flat)) <= {3}:
                return None
        parts = list(chain.from_iterable(flat))
        names = parts[0::3]
        try:
            kinds = bytes(map(self.plain.__getitem__, names))
        except (KeyError, TypeError):
            return None
        return kinds, names, parts[1::3], parts[2::3]

    def _one_by_one(
        self, told: list[Any], asked: list[Any], events: Sequence[int], begun: Sequence[int]
    ) -> None:
        """The same for transactions that are not all plain, with a place for what is wrong."""
        sizes: list[int] = []
        kinds: list[int] = []
        for value, invoked, event, first in zip(told, asked, events, begun):
            self._require_list(value, event)
            if invoked is not value:
                self._compare(value, invoked, event)
            before = len(kinds)
            for number, mop in enumerate(value):
                f, key, said = self._require(mop, event, number, done=event != first)
                if self.codes[f] == PREDICATE:
                    found = self._result(key, said, event, number)
                    txn = self.count + len(sizes)
                    if found is not None:
                        self.predicates.append(PredicateRead(txn, len(kinds) - before, key, found))
                    kinds += [READ] * len(found or ())
                    self.keys += [item for item, _ in found or ()]
                    self.values += [item for _, item in found or ()]
                    continue
                kinds.append(self.codes[f])
                self.keys.append(key)
                self.values.append(said)
            sizes.append(len(kinds) - before)
        self.sizes.append(np.array(sizes, dtype=np.int64))
        self.kinds.append(np.array(kinds, dtype=np.int8))
        self.count += len(sizes)

    def _require_list(self, value: Any, event: int) -> None:
        if not isinstance(value, (list, tuple)):
            raise HistoryError(
                f"{short(value)} is no transaction; expected a list of micro-operations such as "
                "[['r', 'x', None]]",
                place=f"event {event}",
            )

    def _require(self, mop: Any, event: int, number: int, *, done: bool) -> tuple[str, Any, Any]:
        """A micro-operation's three parts; an invocation's read may have two."""
        names = ", ".join(sorted(self.codes))
        if not isinstance(mop, (list, tuple)):
            refuse(
                event, number, mop, f"is no micro-operation; expected [f, key, value], f {names}"
            )
        f = mop[0] if len(mop) else None
        if not isinstance(f, str) or f not in self.codes:
            known = isinstance(f, str) and f in MICRO_OPS
            guess = "; is the history of another model?" if known else ""
            refuse(
                event, number, mop, f"is no micro-operation of {self.model}; f is one of {names}"
                + guess
            )  # fmt: skip
        if len(mop) == 2 and self.codes[f] != WRITE and not done:
            return f, mop[1], None
        if len(mop) != 3:
            refuse(event, number, mop, f"has {len(mop)} parts; expected [f, key, value]")
        if self.codes[f] == PREDICATE:
            wrong = wrong_with(mop[1])
            if wrong:
                refuse(event, number, mop, f"asks for nothing that is defined: {wrong}")
        elif mop[1] is None and not self.keyless:
            refuse(event, number, mop, "names no key; expected [f, key, value]")
        return f, mop[1], mop[2]

    def _result(
        self, predicate: Any, said: Any, event: int, number: int
    ) -> list[tuple[Any, Any]] | None:
        """The keys and values a predicate read returned; None if it was not answered."""
        if said is None:
            return None
        found = items_of(said)
        if found is None or any(key is None or value is None for key, value in found):
            refuse(
                event, number, ["rp", predicate, said],
                "returned neither a map of keys to values nor a list of pairs [key, value]",
            )  # fmt: skip
        return found

    def _compare(self, told: Any, asked: Any, event: int) -> None:
        """Refuse a completion that is not of its invocation."""
        if not isinstance(asked, (list, tuple)):
            raise HistoryError(
                f"the transaction was invoked with {short(asked)}, which is no list of "
                "micro-operations",
                place=f"event {event}",
            )
        if len(told) != len(asked):
            raise HistoryError(
                f"the completion has {len(told)} micro-operations ({short(told)}), but "
                f"{len(asked)} were invoked ({short(asked)})",
                place=f"event {event}",
            )
        for number, (mop, begun) in enumerate(zip(told, asked)):
            f, key, value = self._require(mop, event, number, done=True)
            was, asked_key, asked_value = self._require(begun, event, number, done=False)
            same = self.codes[f] == self.codes[was] and key == asked_key
            if not same or (self.codes[f] == WRITE and value != asked_value):
                refuse(event, number, mop, f"is not what was invoked, {short(begun)}")


def refuse(event: int, number: int, mop: Any, why: str) -> NoReturn:
    """Raise the error about one micro-operation, counted from 1."""
    raise HistoryError(f"micro-operation {number + 1}, {short(mop)}, {why}", place=f"event {event}")


def _alike(parts: tuple[Any, ...], told: list[Any], asked: list[Any]) -> bool:
    """Whether completions are plainly of their invocations: equal but for what was read."""
    kinds, names, keys, values = parts
    try:
        if list(map(len, told)) != list(map(len, asked)):
            return False
        begun = list(chain.from_iterable(chain.from_iterable(asked)))
    except TypeError:
        return False
    if len(begun) != 3 * len(names) or begun[0::3] != names or begun[1::3] != keys:
        return False
    # READ is 0, so compress keeps the writes
    return list(compress(values, kinds)) == list(compress(begun[2::3], kinds))


__all__ = ["MICRO_OPS", "PREDICATE", "READ", "WRITE", "Flat", "PredicateRead", "matches", "refuse"]
