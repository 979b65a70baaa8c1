"""Happens-before by sessions and reads alone: the order that causal consistency extends.

Problem. Causal consistency asks, for every read, which writers of the key happen before the reader.

Solution. A vector clock per transaction: how many transactions of each session happen before it.
The clocks are filled in a topological order of session order and reads-from.

Invariants. ``place`` and ``sessions`` are inverse to each other. A transaction is not before
itself.

What breaks without it: pairs of transactions would have to be followed one by one, which is
quadratic.

Source: Moldrup and others, *AWDIT*, PLDI 2025.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from checkers.core.budget import looked
from checkers.isolation.serializability.polygraph import session_codes
from checkers.isolation.transaction_table import Bools, Txns


class HappensBefore:
    """Sessions, and what happens before each transaction.

    Attributes:
        sessions: the transactions of each session, in order.
        place: transaction -> its session and its position there.

    Args:
        txns: the transactions.
        members: which of them count; bool, (transactions,).
        sources: the transactions that one read from.
        sessions: whether the order of sessions counts; if not, each transaction is one.
    """

    def __init__(
        self, txns: Txns, members: Bools, sources: Callable[[int], set[int]], *, sessions: bool
    ) -> None:
        self._read_from = sources
        chosen = np.flatnonzero(members)
        codes = session_codes(txns, members) if sessions else np.arange(len(txns))
        order = chosen[np.lexsort((txns.invoke[chosen], codes[chosen]))]
        self.sessions: list[list[int]] = []
        self.place: dict[int, tuple[int, int]] = {}
        last = -1
        for txn in looked(order.tolist()):
            process = int(codes[txn])
            if process != last:
                self.sessions.append([])
                last = process
            self.place[txn] = (len(self.sessions) - 1, len(self.sessions[-1]))
            self.sessions[-1].append(txn)

    def _sources(self, txn: int) -> set[int]:
        """The transactions directly before one: those it read from, and the last of its session."""
        sources = set(self._read_from(txn))
        session, position = self.place[txn]
        if position:
            sources.add(self.sessions[session][position - 1])
        return sources

    def clock(self, txn: int, clocks: dict[int, list[int]]) -> list[int]:
        """How many transactions of each session happen before this one.

        Args:
            txn: whose turn it is, in the order of :meth:`topological`.
            clocks: those of all before; this one's is added.
        """
        clock = [0] * len(self.sessions)
        for source in self._sources(txn):
            clock = list(map(max, clock, clocks[source]))
            at_session, at = self.place[source]
            clock[at_session] = max(clock[at_session], at + 1)
        clocks[txn] = clock
        return clock

    def topological(self) -> list[int] | None:
        """The transactions in an order of so and wr, or None if there is none."""
        into: dict[int, int] = dict.fromkeys(self.place, 0)
        out: dict[int, list[int]] = {txn: [] for txn in self.place}
        for txn in looked(self.place):
            sources = self._sources(txn)
            into[txn] = len(sources)
            for source in sources:
                out[source].append(txn)
        order = [txn for txn, count in into.items() if not count]
        for txn in looked(order):
            for target in out[txn]:
                into[target] -= 1
                if not into[target]:
                    order.append(target)
        return order if len(order) == len(into) else None
