"""An order of thousands of transactions in many sessions, or the few that have none.

Problem. The order of the writes of each key is unknown, and finding an order that explains every
read is NP-complete. In a history that a database executed most of the order is forced, and most of
the rest does not matter.

Solution. Three parts take turns.

- Deriving. :mod:`.saturation_kernel` keeps a vector per point and closes it under two rules, so
  that every order that is forced is known.
- Placing. Points are placed one by one by rank (how many must come before, less how many after),
  but never where a read would go wrong (:mod:`.placement_kernel`). The pass places all points, or
  ends where every remaining point waits for another.
- Guessing. A point that waits for the readers of a version belongs before the writer of that
  version. This is guessed, its consequences are derived, and placing begins again. The guesses of
  one pass are made together, and one by one only if they contradict each other.

A contradiction is traced back to the guesses that it rests on. The last of them is reversed, and
the others are the reason. A contradiction that rests on no guess is a refutation. Its transactions
are those on the paths along which it was traced.

Invariants. A guess is reversed only where the rest of its conflict says so, and the reversed guess
keeps those reasons. So the search ends, as it is backjumping over a finite tree, and a refutation
does not rest on having tried everything. The caller replays every order found.

The inner loops are compiled. A few hundred transactions are interpreted, which takes less time than
loading machine code. Where no machine code is kept yet, a few thousand are interpreted first, with
a share of the budget.

What breaks without it: the order of the writes would have to be known.

Source: Papadimitriou 1979 and Biswas and Enea, OOPSLA 2019, for orders as polygraphs and sessions
as vectors; Tan and others, *Cobra*, OSDI 2020, and Huang and others, *PolySI*, VLDB 2023, for what
is forced; Zhang and others, *Viper*, EuroSys 2023, for starts and commits as points; Prosser 1993
for backjumping.

For :mod:`checkers.isolation.serializability.serial`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import msgspec
import numpy as np

from checkers.core import jit
from checkers.core.budget import Meter
from checkers.isolation.serializability.polygraph import Txn
from checkers.isolation.serializability.saturation_tables import (
    grown,
    make_scratch,
    make_state,
    make_tables,
)
from checkers.isolation.transaction_table import Ints

#: Points times lanes looked at between looks at the budget, compiled and interpreted.
ENTRIES_PER_LOOK, ENTRIES_PER_LOOK_INTERPRETED = 500_000, 5_000
#: Transactions up to which loading machine code would not be worth its while.
INTERPRETED_MAX = 200
#: Transactions up to which the interpreter is used where there is no machine code yet.
UNCOMPILED_MAX = 2000
#: Share of the budget for the interpreter before the search is compiled after all.
UNCOMPILED_SHARE = 0.25
UNCOMPILED_S = 20.0

KERNELS = (
    "checkers.isolation.serializability.saturation_kernel",
    "checkers.isolation.serializability.placement_kernel",
)
#: Bytes that a point takes for each lane.
BYTES_PER_ENTRY = 8

#: Two transactions of a key, the first to commit before the second starts.
Guess = tuple[int, int]


class Found(msgspec.Struct, frozen=True):
    """The result of a search.

    Args:
        answer: whether there is an order; None if that is open.
        order: the points in order: transaction, and 0 for its start or 1 for its commit.
        core: transactions that have no order.
        reason: why it is open.
        guesses, conflicts: how many it took.
    """

    answer: bool | None
    order: list[tuple[Txn, int]] = []
    core: list[Txn] = []
    reason: str = ""
    guesses: int = 0
    conflicts: int = 0


class _Level(msgspec.Struct, frozen=True):
    """The state before some guesses, which were made together."""

    edges: int
    trail: int
    guesses: list[Guess]


def search_order(
    txns: Sequence[Txn], *, snapshot: bool, meter: Meter, conflicts_max: int | None = None
) -> Found:
    """An order of transactions, or those that have none.

    Args:
        txns: in order of session and place; what they read from is among them.
        snapshot: starts and commits, for snapshot isolation; else whole transactions.
        meter: the budget. Compiling the search, once on a machine, is no part of what it limits.
        conflicts_max: guesses turned round before the search gives up.
    """
    lanes = len({txn.session for txn in txns})
    points = len(txns) * (2 if snapshot else 1)
    if 2 * BYTES_PER_ENTRY * points * lanes > meter.remaining_mb() * 1e6:
        return Found(None, reason=f"vectors of {lanes} sessions do not fit in the memory budget")
    if len(txns) <= INTERPRETED_MAX or not jit.installed():
        return _interpreted(txns, snapshot, meter, conflicts_max)
    if len(txns) <= UNCOMPILED_MAX and not jit.at_hand("saturation"):
        share = meter.left(UNCOMPILED_SHARE)
        time_s = UNCOMPILED_S if share.time_s is None else min(share.time_s, UNCOMPILED_S)
        own = Meter(msgspec.structs.replace(share, time_s=time_s))
        found = _interpreted(txns, snapshot, own, conflicts_max)
        if found.answer is not None or not own.spent() or meter.spent():
            return found
    jit.ready("saturation")
    return OrderSearch(txns, snapshot=snapshot, meter=meter).run(conflicts_max=conflicts_max)


def _interpreted(
    txns: Sequence[Txn], snapshot: bool, meter: Meter, conflicts_max: int | None
) -> Found:
    search = OrderSearch(txns, snapshot=snapshot, meter=meter, compiled=False)
    return search.run(conflicts_max=conflicts_max)


class OrderSearch:
    """One search; see :func:`search_order`."""

    def __init__(
        self, txns: Sequence[Txn], *, snapshot: bool, meter: Meter, compiled: bool = True
    ) -> None:
        load = importlib.import_module if compiled else jit.interpreted
        self.kernel, self.placing = map(load, KERNELS)
        self.txns, self.meter = txns, meter
        self.step = 2 if snapshot else 1
        self.tables, keys = make_tables(txns, self.step, self.kernel)
        self.state = make_state(self.tables, txns, self.kernel)
        self.scratch = make_scratch(self.tables, keys, self.placing)
        self.rank: Ints | None = None
        entries = ENTRIES_PER_LOOK if compiled else ENTRIES_PER_LOOK_INTERPRETED
        self.per_look = max(1, entries // max(1, len(self.tables.first) - 1))
        self.levels: list[_Level] = []
        self.learned: list[tuple[set[int], set[int]]] = []
        self.pending: list[Guess] = []
        self.one_by_one = False
        self.guesses = self.conflicts = 0

    def run(self, *, conflicts_max: int | None = None) -> Found:
        """Until an order is found, there is none, or the budget or the conflicts are spent."""
        kernel = self.kernel
        answer = self._until_rest(first=True)
        while not self.meter.spent(1):
            if answer == kernel.CONFLICT:
                if conflicts_max is not None and self.conflicts > conflicts_max:
                    return self._found(None, reason=f"more than {conflicts_max} wrong guesses")
                levels, core = self._explain()
                if not levels:
                    return self._found(False, core=[self.txns[at] for at in sorted(core)])
                answer = self._turn_round(levels, core)
                continue
            if not self.pending and not self._place():
                return self._found(True, order=self._order())
            answer = self._guess()
        return self._found(None, reason=self.meter.reason)

    def _found(
        self,
        answer: bool | None,
        *,
        order: list[tuple[Txn, int]] | None = None,
        core: list[Txn] | None = None,
        reason: str = "",
    ) -> Found:
        return Found(answer, order or [], core or [], reason, self.guesses, self.conflicts)

    def _order(self) -> list[tuple[Txn, int]]:
        points = self.scratch.order.tolist()
        if self.step == 1:
            return [(self.txns[point], 1) for point in points]
        return [(self.txns[point // 2], point % 2) for point in points]

    # -- what follows -----------------------------------------------------------------------------

    def _until_rest(self, *, first: bool = False) -> int:
        """Both rules until nothing is new, or there is a conflict, or the budget is spent."""
        kernel = self.kernel
        while True:
            self.state.counts.until = self.per_look
            if first:
                answer = kernel.sweep(self.tables, self.state)
            else:
                answer = kernel.propagate(self.tables, self.state, True)
            if answer == kernel.FULL:
                columns = (part for part in self.state if isinstance(part, np.ndarray))
                used_mb = sum(column.nbytes for column in columns) / 1e6
                if used_mb > self.meter.remaining_mb():
                    self.meter.reason = "the memory budget does not do for the edges"
                    return int(answer)
                self.state = grown(self.state)
            elif answer != kernel.PAUSED:
                return int(answer)
            if self.meter.spent(1, look=answer == kernel.FULL):
                return int(answer)

    def _edge(self, guess: Guess, why_from: int, why_to: int) -> bool:
        """Commit of the first before start of the second; False for a conflict at once."""
        commit, start = guess[0] * self.step + self.step - 1, guess[1] * self.step
        return bool(
            self.kernel.add_edge(self.tables, self.state, commit, start, why_from, why_to, True)
        )

    def _known(self, before: int, after: int) -> bool:
        """Whether one transaction is known to commit before another starts."""
        tables = self.tables
        commit = before * self.step + self.step - 1
        known = self.state.clock[after * self.step, tables.lane[commit]]
        return bool(known > tables.place[commit])

    # -- guessing ---------------------------------------------------------------------------------

    def _place(self) -> bool:
        """Place all points if that is possible; else True, and guesses are pending."""
        if self.rank is None:
            self.rank = self._ranks()
        edges = int(self.state.counts.edges)
        count = self.placing.schedule(self.tables, self.state, self.rank, self.scratch, edges)
        transactions = self.scratch.guesses[:count] // self.step
        self.pending = [(a, b) for a, b in transactions.tolist()]
        return bool(count)

    def _ranks(self) -> Ints:
        """How many points must come before each, less how many after."""
        after = np.zeros(len(self.tables.lane), dtype=np.int64)
        for start in range(0, len(after), self.per_look):
            if self.meter.spent():
                break
            end = min(start + self.per_look, len(after))
            self.kernel.behind(self.tables, self.state, start, end, after)
        ranks: Ints = 2 * (self.state.clock.sum(axis=1, dtype=np.int64) - after)
        if self.step > 1:  # a start is put off until something has to come after it
            edges = int(self.state.counts.edges)
            source, target = self.state.source[:edges], self.state.target[:edges]
            start = source % 2 == 0
            ranks[::2] = ranks[1::2] - 1
            np.minimum.at(ranks, source[start], ranks[target[start]] - 1)
        return ranks

    def _guess(self) -> int:
        """Make the pending guesses that are open: all together, or the first of them."""
        open_ = [(a, b) for a, b in self.pending if not (self._known(a, b) or self._known(b, a))]
        made = open_[:1] if self.one_by_one else open_
        self.pending = open_[len(made) :]
        self.one_by_one = self.one_by_one and bool(self.pending)
        if not made:
            return int(self.kernel.REST)
        self.guesses += len(made)
        counts = self.state.counts
        edges, trail = int(counts.edges), int(counts.trail)
        self.levels.append(_Level(edges, trail, made))
        if all(self._edge(guess, self.kernel.GUESSED, len(self.levels)) for guess in made):
            answer = self._until_rest()
        else:
            answer = int(self.kernel.CONFLICT)
        if answer == self.kernel.CONFLICT and len(made) > 1:
            return self._turn_round({len(self.levels)}, set())
        return answer

    def _turn_round(self, levels: set[int], core: set[int]) -> int:
        """Take back the last of some levels that contradict each other, and learn from it."""
        kernel, last = self.kernel, max(levels)
        level = self.levels[last - 1]
        del self.levels[last - 1 :]
        kernel.take_back(self.state, level.edges, level.trail)
        if len(level.guesses) > 1:
            self.pending, self.one_by_one = level.guesses, True
            return int(kernel.REST)
        self.conflicts += 1
        self.learned.append((levels - {last}, core))
        before, after = level.guesses[0]
        if self._edge((after, before), kernel.LEARNED, len(self.learned) - 1):
            return self._until_rest()
        return int(kernel.CONFLICT)

    # -- explaining -------------------------------------------------------------------------------

    def _explain(self) -> tuple[set[int], set[int]]:
        """The levels that a conflict rests on, and transactions that prove it."""
        kernel, state = self.kernel, self.state
        counts = state.counts
        source, target, why_from, why_to = (
            int(number) for number in (counts.source, counts.target, counts.why_from, counts.why_to)
        )
        limit = int(counts.edges)
        proof = _Proof(self)
        proof.core |= {source // self.step, target // self.step}
        if why_to == kernel.PRESENT:
            proof.edge(why_from)
        else:
            proof.because(why_from, why_to, limit)
        if source != target:
            proof.paths.append((target, source, limit))
        proof.trace()
        return proof.levels, proof.core


class _Proof:
    """The guesses that a contradiction rests on, traced from edge to edge."""

    def __init__(self, search: OrderSearch) -> None:
        self.search = search
        self.levels: set[int] = set()
        self.core: set[int] = set()
        self.paths: list[tuple[int, int, int]] = []
        self.traced: set[int] = set()

    def because(self, why_from: int, why_to: int, limit: int) -> None:
        """Note why an edge is there, which was made when there were ``limit`` edges."""
        kernel = self.search.kernel
        if why_from == kernel.GUESSED:
            self.levels.add(why_to)
        elif why_from == kernel.LEARNED:
            levels, core = self.search.learned[why_to]
            self.levels |= levels
            self.core |= core
        elif why_from != kernel.GIVEN:
            step = self.search.step
            self.core |= {why_from // step, why_to // step}
            self.paths.append((why_from, why_to, limit))

    def edge(self, edge: int) -> None:
        """Note why an edge is there."""
        state = self.search.state
        if edge not in self.traced:
            self.traced.add(edge)
            self.because(int(state.why_from[edge]), int(state.why_to[edge]), edge)

    def trace(self) -> None:
        """Follow every path noted, and those its edges rest on."""
        search = self.search
        state, tables, step = search.state, search.tables, search.step
        while self.paths:
            path = search.kernel.find_path(tables, state, *self.paths.pop())
            if not len(path):
                raise AssertionError("an order was derived from a path that is not there")
            for edge in path.tolist():
                source, target = int(state.source[edge]), int(state.target[edge])
                if tables.lane[source] != tables.lane[target]:  # what is between follows
                    self.core |= {source // step, target // step}
                self.edge(edge)


def warm() -> None:
    """Call every loop once, for :mod:`checkers.core.jit`."""
    txns = [
        Txn(0, 0, 0, {}, frozenset({0, 1})),
        Txn(1, 1, 0, {0: 0}, frozenset({1})),
        Txn(2, 2, 0, {1: 1}, frozenset({0})),
    ]
    search = OrderSearch(txns, snapshot=False, meter=Meter())
    search.run()
    kernel, state = search.kernel, search.state
    state.counts.until = 1
    search._edge((0, 2), kernel.GIVEN, kernel.GIVEN)
    kernel.propagate(search.tables, state, True)
    kernel.find_path(search.tables, state, 0, 1, 1)
    search._place()
    edges, trail = int(state.counts.edges), int(state.counts.trail)
    kernel.take_back(state, edges, trail)
