"""Transactions' values into flat columns, and what is malformed about them as one sentence.

Problem. A value is a list of micro-operations of three parts each. Python code per micro-operation
would take longer than all of the checking.

Solution. Millions of micro-operations are taken apart a chunk at a time by the C loops of
``list.extend`` and ``zip``. Values that those passes do not find plain are read again one by one.
They are well-formed after all, or end as a :class:`HistoryError` that names the event and the
micro-operation.

Invariants. An ``ok`` completion repeats what was invoked: as many micro-operations, of the same
functions and keys in the same order, with the same values written. A history in which they differ
was recorded wrongly, and nothing can be concluded from it.

For :mod:`checkers.isolation.transaction_table`.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from itertools import compress
from typing import Any, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from checkers.history import HistoryError
from checkers.history.columns import short
from checkers.isolation.predicates.matching import Predicate, items_of, matches, wrong_with

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
CHUNK = 512
#: The same for values that are looked at twice.
VALUES_CHUNK = 8192

#: names, keys and values of micro-operations
Parts = tuple[Sequence[object], Sequence[object], Sequence[object]]


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
    predicate: Predicate
    found: list[tuple[object, object]]


class Packed:
    """A growing column of values: 8 bytes each while all are integers that fit, else a list."""

    def __init__(self) -> None:
        self._whole: array[int] | None = array("q")
        self._items: list[Any] = []

    def extend(self, values: Sequence[Any]) -> None:
        """Append a list or tuple of values."""
        if self._whole is not None:
            # the exact type: True is no 1
            if set(map(type, values)) <= {int}:
                try:
                    self._whole += array("q", values)
                    return
                except OverflowError:
                    pass
            self._items, self._whole = self._whole.tolist(), None
        self._items += values

    def column(self) -> npt.NDArray[np.int64] | list[object]:
        """The values so far: an array if they are integers."""
        if self._whole is None:
            return self._items
        return np.frombuffer(self._whole, dtype=np.int64)


def packed(*parts: Sequence[object]) -> npt.NDArray[np.int64] | list[object]:
    """Lists of values behind one another: an array if they are integers of 64 bits, else a list."""
    whole = Packed()
    for part in parts:
        for low in range(0, len(part), VALUES_CHUNK):
            whole.extend(part[low : low + VALUES_CHUNK])
    return whole.column()


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
        self.keys = Packed()
        self.values: list[object] = []
        self.predicates: list[PredicateRead] = []
        self.count = 0

    def extend(
        self,
        outputs: list[object],
        asked: list[object],
        events: Sequence[int],
        begun: Sequence[int],
    ) -> None:
        """Take a chunk of transactions.

        Args:
            outputs: the micro-operations of each, as its completion has them.
            asked: the micro-operations invoked; the same object where nothing is to be compared.
            events: the event that each output comes from.
            begun: the invocation of each.

        Raises:
            HistoryError: a value that is no list of micro-operations, or not what was invoked.
        """
        sizes = _sizes(outputs)
        parts = None if sizes is None else _parts(outputs)
        if sizes is None or parts is None:
            self._one_by_one(outputs, asked, events, begun)
            return
        kinds = self._kinds(parts[0])
        if kinds is None or not (outputs is asked or _alike(parts, kinds, sizes, asked)):
            self._one_by_one(outputs, asked, events, begun)
            return
        self.sizes.append(np.array(sizes, dtype=np.int64))
        self.kinds.append(np.frombuffer(kinds, dtype=np.int8))
        self.keys.extend(parts[1])
        self.values += parts[2]
        self.count += len(sizes)

    def _kinds(self, names: Sequence[Any]) -> bytes | None:
        """Kinds of micro-operations by their names; None if any is not plain."""
        try:
            return bytes(map(self.plain.__getitem__, names))
        except (KeyError, TypeError):
            return None

    def _one_by_one(
        self, outputs: list[Any], asked: list[Any], events: Sequence[int], begun: Sequence[int]
    ) -> None:
        """The same for transactions that are not all plain, with a place for what is wrong."""
        sizes: list[int] = []
        kinds: list[int] = []
        keys: list[object] = []
        for value, invoked, event, first in zip(outputs, asked, events, begun):
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
                    keys += [item for item, _ in found or ()]
                    self.values += [item for _, item in found or ()]
                    continue
                kinds.append(self.codes[f])
                keys.append(key)
                self.values.append(said)
            sizes.append(len(kinds) - before)
        self.sizes.append(np.array(sizes, dtype=np.int64))
        self.kinds.append(np.array(kinds, dtype=np.int8))
        self.keys.extend(keys)
        self.count += len(sizes)

    def _require_list(self, value: object, event: int) -> None:
        if not isinstance(value, (list, tuple)):
            raise HistoryError(
                f"{short(value)} is no transaction; expected a list of micro-operations such as "
                "[['r', 'x', None]]",
                place=f"event {event}",
            )

    def _require(self, mop: object, event: int, number: int, *, done: bool) -> tuple[str, Any, Any]:
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
        self, predicate: object, said: object, event: int, number: int
    ) -> list[tuple[object, object]] | None:
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

    def _compare(self, outputs: Any, asked: Any, event: int) -> None:
        """Refuse a completion that is not of its invocation."""
        if not isinstance(asked, (list, tuple)):
            raise HistoryError(
                f"the transaction was invoked with {short(asked)}, which is no list of "
                "micro-operations",
                place=f"event {event}",
            )
        if len(outputs) != len(asked):
            raise HistoryError(
                f"the completion has {len(outputs)} micro-operations ({short(outputs)}), but "
                f"{len(asked)} were invoked ({short(asked)})",
                place=f"event {event}",
            )
        for number, (mop, begun) in enumerate(zip(outputs, asked)):
            f, key, value = self._require(mop, event, number, done=True)
            was, asked_key, asked_value = self._require(begun, event, number, done=False)
            same = self.codes[f] == self.codes[was] and key == asked_key
            if not same or (self.codes[f] == WRITE and value != asked_value):
                refuse(event, number, mop, f"is not what was invoked, {short(begun)}")


def refuse(event: int, number: int, mop: object, why: str) -> NoReturn:
    """Raise the error about one micro-operation, counted from 1."""
    raise HistoryError(f"micro-operation {number + 1}, {short(mop)}, {why}", place=f"event {event}")


def _sizes(lists: Sequence[Any]) -> list[int] | None:
    """How many micro-operations each transaction has; None if one is no list."""
    return list(map(len, lists)) if set(map(type, lists)) <= {list, tuple} else None


def _parts(lists: Sequence[Any]) -> Parts | None:
    """Names, keys and values of all micro-operations; None if one is no list of three parts."""
    flat: list[Any] = []
    deque(map(flat.extend, lists), maxlen=0)  # a loop at the speed of C
    if not flat:
        return (), (), ()
    if not set(map(type, flat)) <= {list, tuple}:
        return None
    try:
        names, keys, values = zip(*flat, strict=True)
    except ValueError:
        return None
    return names, keys, values


def _alike(parts: Parts, kinds: bytes, sizes: list[int], asked: Sequence[object]) -> bool:
    """Whether completions are plainly of their invocations: equal but for what was read."""
    if _sizes(asked) != sizes:
        return False
    begun = _parts(asked)
    if begun is None or begun[0] != parts[0] or begun[1] != parts[1]:
        return False
    # READ is 0, so compress keeps the writes
    return list(compress(parts[2], kinds)) == list(compress(begun[2], kinds))


__all__ = [
    "MICRO_OPS", "PREDICATE", "READ", "WRITE", "Flat", "Packed", "PredicateRead", "matches",
    "packed", "refuse",
]  # fmt: skip
