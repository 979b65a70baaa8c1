"""The predicate reads of a history, and what a transaction must see of itself in them.

An item that was returned matches the predicate, and a key that the transaction itself read or wrote
with a value that matches is among those returned.

For :mod:`checkers.isolation.inference.list_append` and
:mod:`checkers.isolation.inference.rw_register`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from checkers.isolation.explain import Anomaly
from checkers.isolation.inference.version_orders import CASES_MAX
from checkers.isolation.mops import PredicateRead
from checkers.isolation.predicates.match_changes import MatchChange
from checkers.isolation.predicates.matching import Predicate, in_words, matches
from checkers.isolation.transaction_table import READ, WRITE, Txns

#: a version whose writer a reader that missed its key precedes: (mark, transaction)
Changer = tuple[int, int]


class Versions(Protocol):
    """The versions of a key, as an inference has them."""

    def changers(self, key: int, predicate: Predicate) -> Sequence[Changer]:
        """The writers before which a read came that found no match at this key."""
        ...

    def match_changes(self, key: int, predicate: Predicate) -> Sequence[MatchChange]:
        """Where the versions of this key stop matching."""
        ...


class PredicateReads:
    """The predicate reads of one history.

    Args:
        txns: the transactions.
        lists: the values are lists, so that a write adds to what was.
    """

    def __init__(self, txns: Txns, *, lists: bool) -> None:
        self.txns = txns
        self.lists = lists
        self.reads = txns.predicates
        starts = np.searchsorted(txns.mop_txn, [p.txn for p in self.reads])
        self.starts: list[int] = starts.tolist()

    def anomalies(self) -> list[Anomaly]:
        """Items that do not match, and results at odds with the transaction's own operations."""
        noted: list[Anomaly] = []
        for number, read in enumerate(self.reads):
            for key, value in read.found:
                if not matches(read.predicate, key, value):
                    _note(
                        noted, "predicate-mismatch", read, key,
                        f"{{0}} asked for {in_words(read.predicate)} and got key {key!r} with "
                        f"{value!r}, which does not match.",
                    )  # fmt: skip
            self._against_itself(number, read, noted)
        return noted

    def _against_itself(self, number: int, read: PredicateRead, noted: list[Anomaly]) -> None:
        """Keys that were not found, though the transaction itself shows that they match."""
        found, own = self.found(number), self._written_before(number)
        for key, shows in self._known_before(number, read).items():
            if key not in found and shows(read.predicate):
                name = self.txns.keys[key]
                _note(
                    noted, "internal", read, name,
                    f"{{0}} asked for {in_words(read.predicate)} and did not get key {name!r}, "
                    "which matches by its own earlier operations.", own_write=key in own,
                )  # fmt: skip
        wrote: set[int] = set()
        for mop in range(self.starts[number] + read.before, self._end(read)):
            key, value = int(self.txns.mop_key[mop]), self.txns.mop_value[mop]
            if self.txns.mop_kind[mop] == WRITE:
                wrote.add(key)
            elif key not in found and key not in wrote:
                name = self.txns.keys[key]
                if matches(read.predicate, name, value):
                    _note(
                        noted, "internal", read, name,
                        f"{{0}} asked for {in_words(read.predicate)} and did not get key {name!r}, "
                        f"of which it then read {value!r}, which matches.", own_write=key in own,
                    )  # fmt: skip

    def _known_before(
        self, number: int, read: PredicateRead
    ) -> dict[int, Callable[[Predicate], bool]]:
        """Per key the transaction dealt with before: whether its value then surely matches."""
        known: dict[int, Any] = {}
        own: dict[int, list[Any]] = {}
        begin = self.starts[number]
        for mop in range(begin, begin + read.before):
            key, value = int(self.txns.mop_key[mop]), self.txns.mop_value[mop]
            if self.txns.mop_kind[mop] == READ:
                known[key] = list(value or ()) if self.lists else value
            elif not self.lists:
                known[key] = value
            else:
                own.setdefault(key, []).append(value)
                if key in known:
                    known[key] = [*known[key], value]
        return {
            key: _shows_match(self.txns.keys[key], known.get(key, ...), own.get(key, []))
            for key in known.keys() | own.keys()
        }

    def _end(self, read: PredicateRead) -> int:
        return int(np.searchsorted(self.txns.mop_txn, read.txn + 1))

    def found(self, number: int) -> set[int]:
        """Codes of the keys a predicate read returned."""
        low = self.starts[number] + self.reads[number].before
        return set(self.txns.mop_key[low : low + len(self.reads[number].found)].tolist())

    def settled(self, number: int) -> set[int]:
        """Codes of the keys it returned or had written before: nothing of theirs was missed."""
        return self.found(number) | self._written_before(number)

    def _written_before(self, number: int) -> set[int]:
        """Codes of the keys the transaction had written before."""
        begin = self.starts[number]
        rows = range(begin, begin + self.reads[number].before)
        return {int(self.txns.mop_key[m]) for m in rows if self.txns.mop_kind[m] == WRITE}


def _note(
    noted: list[Anomaly],
    name: str,
    read: PredicateRead,
    key: Any,
    text: str,
    *,
    own_write: bool = True,
) -> None:
    """Note an anomaly; one with its own read alone, and no write of its own, is marked."""
    if sum(a.name == name for a in noted if a.facts["own_write"] is own_write) < CASES_MAX:
        noted.append(
            Anomaly(name, (read.txn,), key, text, predicate=read.predicate, own_write=own_write)
        )


def _shows_match(name: object, known: object, own: list[object]) -> Callable[[Predicate], bool]:
    """Whether a predicate surely matches a key, by its known value or a transaction's appends."""

    def shows(predicate: Predicate) -> bool:
        if known is not ...:
            return matches(predicate, name, known)
        return bool(own) and "length" not in (predicate or {}) and matches(predicate, name, own)

    return shows
