"""Predicate anti-dependencies: what a predicate read comes before, by the keys it did not return.

The keys a predicate read returned are reads of those keys, and checked as such. The keys it did not
return are evidence too. Such a key had a version that did not match, or none (it was unborn). If
every version from some x on matches, the one read came before x: the reader depends *against* the
writer of x, since x, or a version before it, changed the matches. Adya: T1 predicate-anti-depends
on T2 if T2 installs a later version that changes the matches of T1's predicate read. Where versions
that match and that do not alternate, nothing is inferred: which one was read is unknown.

One predicate read misses everything that is inserted later, so the edges are quadratic by
definition. Per predicate the writers are leaves of a tree, in order of invocation, and a reader
points to the few subtrees that cover what it missed: the edges stay linear in what was returned,
times a logarithm.

Source: Adya, *Weak Consistency*, definitions 4.2.4 to 4.2.6; the trees are our own. For
:mod:`checkers.isolation.inference.list_append` and :mod:`checkers.isolation.inference.rw_register`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from checkers.history import freeze
from checkers.isolation.graph.dependency_graph import PASS, RWP, GraphBuilder
from checkers.isolation.predicates.dependencies import SeenChanges
from checkers.isolation.predicates.matching import Predicate, matches_key
from checkers.isolation.predicates.predicate_reads import Changer, PredicateReads, Versions


class PredicateEdges:
    """The edges of predicate reads.

    Args:
        table: the reads.
    """

    def __init__(self, table: PredicateReads) -> None:
        self.table = table
        self.txns, self.reads = table.txns, table.reads
        self.codes = {(type(key), freeze(key)): code for code, key in enumerate(self.txns.keys)}
        self._changers: dict[Hashable, Sequence[Changer]] = {}
        self.changes = SeenChanges(table)

    def missed(self, number: int, key: int) -> Sequence[Changer]:
        """The writers this read comes before, because it did not find the key."""
        predicate = self.reads[number].predicate
        if key in self.table.settled(number) or not matches_key(predicate, self.txns.keys[key]):
            return ()
        return self._changers[_code(key, _of_values(predicate))]

    def _of(self, key: int, values: Predicate, versions: Versions) -> Sequence[Changer]:
        """Changers by what a predicate says of values: ranges of keys share them."""
        code = _code(key, values)
        if code not in self._changers:
            self._changers[code] = versions.changers(key, values)
        return self._changers[code]

    def add(self, builder: GraphBuilder, versions: Versions) -> None:
        """Add what predicate reads depend on, and against, by the keys they did not return.

        The mark of an anti-dependency is the number of the read.

        Args:
            builder: with every other data edge.
            versions: what is known of the versions of each key.
        """
        groups: dict[str, list[int]] = {}
        for number, read in enumerate(self.reads):
            groups.setdefault(repr(freeze(_of_values(read.predicate))), []).append(number)
        edges: list[tuple[int, int, int]] = []
        for numbers in groups.values():
            self._add_group(builder, versions, numbers, edges)
        if edges:
            rows = np.array(edges, dtype=np.int64)
            builder.add(rows[:, 0], rows[:, 1], RWP, key=rows[:, 2] * 0, mark=rows[:, 2])
        firsts = (self.reads[numbers[0]].predicate for numbers in groups.values())
        self.changes.add(builder, versions, list(zip(map(_of_values, firsts), groups.values())))

    def _add_group(
        self,
        builder: GraphBuilder,
        versions: Versions,
        numbers: list[int],
        edges: list[tuple[int, int, int]],
    ) -> None:
        """The reads of predicates that say the same of values."""
        values = _of_values(self.reads[numbers[0]].predicate)
        leaves = _Leaves(
            (_rank(name), writer, key)
            for key, name in enumerate(self.txns.keys)
            for _, writer in self._of(key, values, versions)
        )
        tree = _Tree(builder, leaves.writers)
        for number in numbers:
            read = self.reads[number]
            settled = self.table.settled(number)
            if read.predicate and "in" in read.predicate:
                tokens = dict.fromkeys((type(key), freeze(key)) for key in read.predicate["in"])
                keys = [self.codes[token] for token in tokens if token in self.codes]
                names = self.txns.keys
                keys = [k for k in keys if matches_key(read.predicate, names[k])]
                found = [at for k in keys if k not in settled for at in leaves.at_key.get(k, ())]
                writers = (leaves.writers[at] for at in found)
                edges += [(read.txn, w, number) for w in writers if w != read.txn]
                continue
            low, stop = leaves.span(read.predicate)
            apart = {at for key in settled for at in leaves.at_key.get(key, ())}
            apart.update(leaves.at_writer.get(read.txn, ()))
            for end in [*sorted(at for at in apart if low <= at < stop), stop]:
                edges += [(read.txn, node, number) for node in tree.cover(low, end)]
                low = end + 1
        tree.link()

    def key_of(self, number: int, writer: int) -> tuple[int, int]:
        """The key by which a read comes before a writer, and the mark of the version."""
        for mop in self.txns.mops_of(writer):
            key = int(self.txns.mop_key[mop])
            for mark, changer in self.missed(number, key):
                if changer == writer:
                    return key, mark
        raise AssertionError(f"predicate read {number} does not come before transaction {writer}")


def _of_values(predicate: Predicate) -> Any:
    """The part of a predicate that is about values, without the part about keys."""
    return {f: v for f, v in (predicate or {}).items() if f not in ("keys", "in")} or None


def _code(key: int, values: object) -> tuple[int, str]:
    return key, repr(freeze(values))


def _rank(key: object) -> tuple[int, object]:
    """Numbers in order, then strings in order, then values that no range has."""
    if isinstance(key, (int, float)) and not isinstance(key, bool):
        return 0, key
    return (1, key) if isinstance(key, str) else (2, 0)


class _Leaves:
    """Writers in order of the keys they are about, so that a range of keys is one of leaves."""

    def __init__(self, rows: Iterable[tuple[tuple[int, object], int, int]]) -> None:
        ordered = sorted(rows)
        self.ranks = [rank for rank, _, _ in ordered]
        self.writers = [writer for _, writer, _ in ordered]
        self.at_key: dict[int, list[int]] = {}
        self.at_writer: dict[int, list[int]] = {}
        for at, (_, writer, key) in enumerate(ordered):
            self.at_key.setdefault(key, []).append(at)
            self.at_writer.setdefault(writer, []).append(at)

    def span(self, predicate: Predicate) -> tuple[int, int]:
        """First leaf in a predicate's range of keys, and the one after the last."""
        if not predicate or "keys" not in predicate:
            return 0, len(self.ranks)
        low, high = map(_rank, predicate["keys"])
        if low[0] != high[0] or low[0] == 2:
            return 0, 0
        return bisect_left(self.ranks, low), max(
            bisect_left(self.ranks, low), bisect_right(self.ranks, high)
        )


class _Tree:
    """A binary tree of helper nodes over transactions; node i has the children 2i and 2i + 1."""

    def __init__(self, builder: GraphBuilder, leaves: list[int]) -> None:
        self.builder = builder
        self.leaves = leaves
        self.size = len(leaves)
        self.used: set[int] = set()
        self.first = -1

    def _node(self, at: int) -> int:
        """The graph's node for a place in the tree: a helper, or a transaction."""
        if at >= self.size:
            return self.leaves[at - self.size]
        if self.first < 0:
            self.first = self.builder.new_nodes(self.size)
        self.used.add(at)
        return self.first + at

    def cover(self, low: int, high: int) -> list[int]:
        """The nodes whose subtrees are exactly the leaves from ``low`` up to ``high``."""
        nodes = []
        low, high = low + self.size, high + self.size
        while low < high:
            if low & 1:
                nodes.append(self._node(low))
                low += 1
            if high & 1:
                high -= 1
                nodes.append(self._node(high))
            low, high = low >> 1, high >> 1
        return nodes

    def link(self) -> None:
        """Add the edges from the nodes used to their children, down to the leaves."""
        waiting = sorted(self.used)
        links: list[tuple[int, int]] = []
        done: set[int] = set()
        while waiting:
            at = waiting.pop()
            if at in done or at >= self.size:
                continue
            done.add(at)
            for child in (2 * at, 2 * at + 1):
                links.append((self._node(at), self._node(child)))
                waiting.append(child)
        if links:
            rows = np.array(links, dtype=np.int64)
            self.builder.add(rows[:, 0], rows[:, 1], PASS)
