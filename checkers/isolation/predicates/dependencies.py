"""Predicate dependencies: what a predicate read must have seen change, on keys it did not return.

Problem. Adya: T1 predicate-read-depends on T2 if T2 installed the latest version, at or before the
one that T1's read selected, which changed the matches. For a key that was returned, the version
selected is the one returned, and the dependency is a path of ww and wr to its writer. For a key
that was missed, the version selected is unknown. It may be the initial version, which matches
nothing and has no writer. So a missed key, taken alone, gives no dependency.

Solution. A missed key gives one together with other knowledge. Let version x1 match, and let its
writer come before the reader, by ww and wr, in a session, or in real time. There are two cases.

- The reader read a version before x1. Then it has an anti-dependency on the writer of x1, or on an
  earlier writer that changed the matches. With that one anti-dependency a cycle closes: G-single.
- The reader read a version after x1 that does not match. Then it depends on the writer of the first
  such version, or on a later one (:mod:`checkers.isolation.predicates.match_changes`).

This module adds the edge of the second case, the ``wr-predicate``.

Invariants. A cycle with such an edge holds, or there is a G-single. So the cycle is never called
more than that: G-single with at most one anti-dependency, else G-nonadjacent or G2, never an
``-item`` and never G1c. A model that forbids the name is broken in both cases. Where session or
real time put the writer of x1 before the reader, the edge passes a helper node and goes on as a
process or realtime edge, so only the variants that allow those see it.

What breaks without it: phantoms of deleted or changed matches would pass.

Source: Adya, *Weak Consistency*, definitions 4.2.4 to 4.2.6; the inference by cases is our own. For
:mod:`checkers.isolation.predicates.anti_dependencies`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from checkers.core.budget import Meter
from checkers.core.verdict import Because
from checkers.history import OK, freeze
from checkers.isolation.explain import Evidence, filled
from checkers.isolation.graph.cycles import Edge, reaches
from checkers.isolation.graph.dependency_graph import (
    KIND_NAMES,
    PROCESS,
    REALTIME,
    WR,
    WRP,
    WW,
    GraphBuilder,
)
from checkers.isolation.graph.paths import Adjacency, PathBudget, shortest_path
from checkers.isolation.predicates.match_changes import MatchChange
from checkers.isolation.predicates.matching import Predicate, in_words, matches_key
from checkers.isolation.predicates.predicate_reads import PredicateReads, Versions
from checkers.isolation.transaction_table import WRITE, Bools, Ints

#: Pairs of a read and a match change that are all looked at; of more, only those near in
#: time.
PAIRS_MAX = 100_000


class Values(Protocol):
    """The versions that an inference has found."""

    def written_as(self, mark: int) -> str:
        """A version in words: "write of 9" or "append of 9"."""
        ...

    def value_at(self, mark: int) -> object:
        """The value, or the element, that a version was written with."""
        ...


class SeenChanges:
    """The predicate reads of one inference, and the changes each must have seen.

    Args:
        predicates: the reads.
    """

    def __init__(self, predicates: PredicateReads) -> None:
        self.predicates = predicates
        self.txns = predicates.txns
        #: per edge's mark: number of the read, the change, and what puts the writer of the
        #: version that matched before the read
        self.seen: list[tuple[int, MatchChange, int]] = []
        self.paths: Adjacency | None = None
        self._asked: dict[str, Bools] = {}

    def add(
        self, builder: GraphBuilder, versions: Versions, groups: list[tuple[Predicate, list[int]]]
    ) -> None:
        """Add the edges.

        Args:
            builder: with every other data edge.
            versions: what is known of the versions of each key.
            groups: what a predicate says of values, and the numbers of the reads that say it.
        """
        for values, numbers in groups:
            changes = [
                change
                for key in range(len(self.txns.keys))
                for change in versions.match_changes(key, values)
            ]
            if changes:
                self._asked = {}
                reads, which = self._pairs(numbers, np.array(changes, dtype=np.int64))
                self._add_pairs(builder, changes, reads, which)

    def _pairs(self, numbers: list[int], rows: Ints) -> tuple[Ints, Ints]:
        """Each read with each change of a key that it asked for, did not get, and did not write."""
        txns = self.txns
        done = (txns.type == OK) & (txns.complete >= 0)
        ends = np.where(done, txns.complete, len(txns.history))[rows[:, 4]]
        reads: list[Ints] = [np.empty(0, dtype=np.int64)]
        which: list[Ints] = [np.empty(0, dtype=np.int64)]
        count = 0
        for number in numbers:
            read = self.predicates.reads[number]
            mine = self._asks(read.predicate)[rows[:, 0]]
            mine &= (rows[:, 2] != read.txn) & (rows[:, 4] != read.txn)
            if count > PAIRS_MAX:
                mine &= ends > txns.invoke[read.txn]
            chosen = np.flatnonzero(mine)
            if len(chosen):
                apart = self.predicates.found(number) | {
                    int(txns.mop_key[m])
                    for m in txns.mops_of(read.txn)
                    if txns.mop_kind[m] == WRITE
                }
                chosen = chosen[~np.isin(rows[chosen, 0], list(apart))]
            count += len(chosen)
            reads.append(np.full(len(chosen), number, dtype=np.int64))
            which.append(chosen)
        return np.concatenate(reads), np.concatenate(which)

    def _asks(self, predicate: Predicate) -> Bools:
        """Which keys a predicate asks for; of one group, so what it says of values is the same."""
        code = repr(freeze(predicate))
        if code not in self._asked:
            asks = (matches_key(predicate, name) for name in self.txns.keys)
            self._asked[code] = np.fromiter(asks, dtype=np.bool_, count=len(self.txns.keys))
        return self._asked[code]

    def _add_pairs(
        self, builder: GraphBuilder, changes: list[MatchChange], reads: Ints, which: Ints
    ) -> None:
        """The pairs whose writer of the match comes before the reader, by each way in turn."""
        txns, rows = self.txns, np.array(changes, dtype=np.int64)
        reader = np.array([p.txn for p in self.predicates.reads], dtype=np.int64)[reads]
        matcher, unmatcher = rows[which, 2], rows[which, 4]
        graph = builder.of_kinds(WW | WR)
        plain = reaches(graph, matcher, reader) if len(graph) else np.zeros(len(reads), np.bool_)
        if plain.any():
            self.paths = Adjacency(graph)
        done = (txns.type == OK) & (txns.complete >= 0)
        earlier = done[matcher] & (txns.complete[matcher] < txns.invoke[reader])
        known = done[unmatcher] & (txns.complete[unmatcher] < txns.invoke[reader])
        same = txns.process[matcher] == txns.process[reader]
        follows = txns.process[unmatcher] == txns.process[reader]
        for way, chosen in (
            (0, plain),
            (PROCESS, earlier & same & ~(known & follows) & ~plain),
            (REALTIME, earlier & ~known & ~plain),
        ):
            at = self._latest(np.flatnonzero(chosen), rows, reads, which)
            marks = len(self.seen) + np.arange(len(at), dtype=np.int64)
            pairs = zip(reads[at].tolist(), which[at].tolist())
            self.seen += [(number, changes[change], way) for number, change in pairs]
            ends = reader[at]
            if way and len(at):
                ends = builder.new_nodes(len(at)) + np.arange(len(at), dtype=np.int64)
                builder.add(ends, reader[at], way)
            builder.add(unmatcher[at], ends, WRP, key=rows[which[at], 0], mark=marks)

    def _latest(self, at: Ints, rows: Ints, reads: Ints, which: Ints) -> Ints:
        """Of a list's changes that one read saw, the last: the others come before it, by ww."""
        if not self.predicates.lists or not len(at):
            return at
        code = reads[at] * len(self.txns.keys) + rows[which[at], 0]
        order = np.lexsort((which[at], code))
        last = np.append(code[order][1:] != code[order][:-1], True)
        kept: Ints = at[np.sort(order[last])]
        return kept

    # -- words ------------------------------------------------------------------------------

    def key_of(self, mark: int) -> object:
        """The key an edge is about."""
        return self.txns.keys[self.seen[mark][1].key]

    def words(
        self, mark: int, evidence: Evidence, values: Values
    ) -> tuple[object, str, tuple[Because, ...]]:
        """Why a reader depends on who made a key it missed stop matching.

        The proof's first step is ``preceded``: its value is the version that matched, its own proof
        the way from the writer of that to the reader.
        """
        number, change, way = self.seen[mark]
        read, name = self.predicates.reads[number], self.txns.keys[change.key]
        matcher, asked = _at(self.txns.invoke[change.matched_by]), in_words(read.predicate)
        words = (
            f"{{1}} asked for {asked} and did not find key {name!r}, which matched from the "
            f"{values.written_as(change.matched)} by {matcher} on and no longer did from {{0}}'s "
            f"{values.written_as(change.unmatched)} on; {{1}} comes after {matcher}, so it saw that"
        )
        steps = self._way(change.matched_by, read.txn, way, evidence)
        suffix = f"-{KIND_NAMES[way]}" if way else ""
        preceded = Because(
            kind="preceded",
            source=int(self.txns.invoke[change.matched_by]),
            target=int(self.txns.invoke[read.txn]),
            key=name,
            value=values.value_at(change.matched),
            text=f"had {_at(self.txns.invoke[read.txn])} read key {name!r} as it was before the "
            f"{values.written_as(change.matched)}, it would have missed that write by {matcher}, "
            f"which comes before it: G-single{suffix} ({'; '.join(step.text for step in steps)})",
            proof=steps,
        )
        return values.value_at(change.unmatched), words, (preceded,)

    def _way(self, source: int, target: int, way: int, evidence: Evidence) -> tuple[Because, ...]:
        """Steps that lead from one transaction to another."""
        txns = self.txns
        if way:
            how = "in its session" if way == PROCESS else "in real time"
            step = Because(
                kind=KIND_NAMES[way],
                source=int(txns.invoke[source]),
                target=int(txns.invoke[target]),
                text=f"{_at(txns.invoke[source])} completed before {_at(txns.invoke[target])}, "
                f"{how}",
            )
            return (step,)
        return tuple(self._step(edge, evidence) for edge in self._path(source, target))

    def _path(self, source: int, target: int) -> list[Edge]:
        """A shortest path of ww and wr; a run through helpers is one edge."""
        assert self.paths is not None
        graph = self.paths.graph
        steps: list[Edge] = []
        entry = -1
        for edge in shortest_path(self.paths, source, target, PathBudget(Meter())) or ():
            if graph.src[edge] < graph.txns:
                entry = edge
            if graph.dst[edge] < graph.txns:
                ends = int(graph.src[entry]), int(graph.dst[edge])
                facts = graph.kind[entry], graph.key[entry], graph.mark[entry]
                steps.append(Edge(*ends, *map(int, facts)))
        return steps

    def _step(self, edge: Edge, evidence: Evidence) -> Because:
        txns = self.txns
        value, words, proof = evidence.edge_words(edge)
        one, two = _at(txns.invoke[edge.source]), _at(txns.invoke[edge.target])
        return Because(
            kind=KIND_NAMES[edge.kind],
            source=int(txns.invoke[edge.source]),
            target=int(txns.invoke[edge.target]),
            key=evidence.key_name(edge),
            value=value,
            text=f"{one} comes before {two}, because {filled(words, one, two)}",
            proof=proof,
        )


def _at(invoke: Any) -> str:
    return f"the transaction invoked at event {int(invoke)}"
