"""Blocks: chains of compare-and-sets, each contracted to one thing that is ordered as a whole.

Problem. A successful compare-and-set from a to b reads a and writes b at one instant. No other
value can come between the two, so the clusters of a and b cannot be ordered independently.

Solution. The clusters of a chain are contracted to one block. Within a block the order is forced; a
running maximum of invocations checks it. The zone of a block is its earliest completion and its
latest invocation. After that blocks are ordered as clusters without compare-and-sets would be.

Invariants. A cluster has at most one parent, the value that its write swapped out. A block is named
by its root, the first cluster of its chain. Clusters that lead into a cycle belong to no block.

What breaks without it: two clusters of one chain could be ordered with another value between them,
and an illegal history would pass.

Source: the extension of Gibbons and Korach's argument that :mod:`.zones` states.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from checkers.linearizability.zones.clusters import Clusters, Violation
from checkers.linearizability.zones.register_columns import CAS, Bools, Ints


class Blocks:
    """The blocks of a register history.

    Attributes with one entry per cluster, int64 of shape (clusters,):
        parent: the cluster that the writer of this one swapped out, or the cluster itself.
        root: first cluster of the chain.
        depth: number of compare-and-sets between the root and this cluster.
        earliest, latest: at a root, the zone of its block; elsewhere that of the cluster.
        earliest_cluster, latest_cluster: the clusters that set these bounds.

    Attributes with one entry per cluster, bool of shape (clusters,):
        is_block: the cluster is the root of a block.

    Args:
        clusters: the measured clusters.
    """

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters
        self.columns = clusters.columns
        self._find_branches()
        self._find_chains()
        self._contract()

    def _find_branches(self) -> None:
        """Compare-and-sets that swapped out a value which another one had swapped out."""
        columns = self.columns
        cas = self._swaps()
        source = columns.source[cas]
        first = np.full(self.clusters.count, -1, dtype=np.int64)
        first[source[::-1]] = cas[::-1]
        self._first_swap = first
        self._branching = cas[first[source] != cas]

    def _swaps(self) -> Ints:
        """Rows of the compare-and-sets that take part."""
        rows = self.clusters.write_rows
        swaps: Ints = rows[self.columns.kind[rows] == CAS]
        return swaps

    def _find_chains(self) -> None:
        """Parents, roots and depths of all clusters; which of them lead into a cycle."""
        columns, count = self.columns, self.clusters.count
        cas = self._swaps()
        self.parent = np.arange(count)
        self.parent[columns.target[cas]] = columns.source[cas]
        self.root, self.depth, self._cyclic = _roots(self.parent)
        self._cyclic[columns.target[cas[columns.source[cas] == columns.target[cas]]]] = True
        self.is_block = (self.root == np.arange(count)) & ~self._cyclic

    def _contract(self) -> None:
        """Zones of the blocks, kept at the root of each; what is out of order within them."""
        clusters, columns = self.clusters, self.columns
        self.earliest = clusters.earliest.copy()
        self.latest = clusters.latest.copy()
        self.earliest_cluster = np.arange(clusters.count)
        self.latest_cluster = np.arange(clusters.count)
        self._misplaced: list[tuple[int, int, int]] = []
        single = np.ones(columns.keys, dtype=bool)
        single[columns.key[self._branching]] = False
        chained = np.flatnonzero((self.depth > 0) & ~self._cyclic & single[columns.c_key])
        if not len(chained):
            return
        members = np.union1d(chained, self.root[chained])
        order = members[np.lexsort((self.depth[members], self.root[members]))]
        root = self.root[order]
        begins = np.flatnonzero(np.r_[True, root[1:] != root[:-1]])
        segment = np.cumsum(np.r_[False, root[1:] != root[:-1]])
        latest, latest_at = _running_max(clusters.latest[order], segment, clusters.late)
        self._find_misplaced(order, begins, latest, latest_at)
        roots = root[begins]
        lasts = np.r_[begins[1:], len(order)] - 1
        earliest = np.minimum.reduceat(clusters.earliest[order], begins)
        self.earliest[roots] = earliest
        self.latest[roots] = latest[lasts]
        self.latest_cluster[roots] = order[latest_at[lasts]]
        sizes = np.diff(np.r_[begins, len(order)])
        hits = np.flatnonzero(clusters.earliest[order] == np.repeat(earliest, sizes))
        self.earliest_cluster[root[hits]] = order[hits]

    def _find_misplaced(self, order: Ints, begins: Ints, latest: Ints, latest_at: Ints) -> None:
        """Per key (cluster that completed too early, cluster before it invoked too late, position).

        Args:
            order: clusters, block by block in the forced order of each; shape (n,).
            begins: places in ``order`` at which blocks begin.
            latest: running maximum of the latest invocations within each block; shape (n,).
            latest_at: place in ``order`` at which that maximum was reached; shape (n,).
        """
        before = np.r_[-1, latest[:-1]]
        before[begins] = -2
        earliest, c_key = self.clusters.earliest, self.columns.c_key
        bad = np.flatnonzero(earliest[order] < before)
        if not len(bad):
            return
        links = self.depth[order[bad]] - self.depth[order[latest_at[bad - 1]]]
        when = np.lexsort((earliest[order[bad]], links, c_key[order[bad]]))
        keys = c_key[order[bad[when]]]
        for place in bad[when[np.r_[True, keys[1:] != keys[:-1]]]].tolist():
            late = int(order[latest_at[place - 1]])
            self._misplaced.append((int(order[place]), late, int(before[place])))

    def violations(self) -> Iterator[Violation]:
        """Chains that branch, that lead into themselves, and that are out of order."""
        yield from self._branches()
        yield from self._cycles()
        yield from self._out_of_order()

    def _branches(self) -> Iterator[Violation]:
        """Two compare-and-sets that both swapped out the one occurrence of a value."""
        columns = self.columns
        for row in self.clusters.first_per_key(self._branching):
            rows = (int(self._first_swap[columns.source[row]]), row)
            yield Violation(
                "branch", int(columns.key[row]), rows, int(columns.end[list(rows)].min())
            )

    def _cycles(self) -> Iterator[Violation]:
        """Of each key the cycle that was complete first."""
        cyclic = np.flatnonzero(self._cyclic)
        keys, when = self.columns.c_key[cyclic], self.clusters.end[cyclic]
        order = cyclic[np.lexsort((when, keys))]
        keys = self.columns.c_key[order]
        first = np.r_[True, keys[1:] != keys[:-1]] if len(order) else order
        for cluster in order[first].tolist():
            yield self._cycle(cluster)

    def _cycle(self, cluster: int) -> Violation:
        columns = self.columns
        rows: list[int] = []
        at = cluster
        for _ in range(self.clusters.count):  # first onto the cycle itself
            at = int(self.parent[at])
            row = int(self.clusters.writer[at])
            if row in rows:
                rows = rows[rows.index(row) :]
                break
            rows.append(row)
        ends = columns.end[rows]
        return Violation("cycle", int(columns.c_key[cluster]), tuple(sorted(rows)), int(ends.min()))

    def _out_of_order(self) -> Iterator[Violation]:
        """Per chain, in its forced order: no cluster completes before an earlier one is invoked."""
        clusters = self.clusters
        for cluster, late, at in self._misplaced:
            rows = {*self.chain_rows(late, cluster), int(clusters.latest_row[late])}
            if clusters.earliest_read[cluster] < clusters.end[cluster]:
                rows.add(int(clusters.earliest_row[cluster]))
            key = int(self.columns.c_key[cluster])
            yield Violation("order", key, tuple(sorted(row for row in rows if row >= 0)), at)

    def chain_rows(self, one: int, two: int) -> tuple[int, ...]:
        """The writes of two clusters of one block and of those between."""
        low, high = sorted((one, two), key=lambda cluster: int(self.depth[cluster]))
        rows = [int(self.clusters.writer[low])]
        at = high
        for _ in range(int(self.depth[high] - self.depth[low])):
            rows.append(int(self.clusters.writer[at]))
            at = int(self.parent[at])
        return tuple(sorted({row for row in rows if row >= 0}))

    def ordered_rows(self, *, late: bool = False) -> Ints:
        """The rows that take part, key by key, in the order of their blocks.

        Args:
            late: order the blocks by where their zones end rather than where they begin; turning
                time around shows that this respects "must come before" as well.
        """
        columns = self.columns
        rows = np.flatnonzero(self.clusters.alive)
        cluster = np.where(self.clusters.writes[rows], columns.target[rows], columns.source[rows])
        root = self.root[cluster]
        sides = self.earliest[root], self.latest[root]
        begin = np.maximum(*sides) if late else np.minimum(*sides)
        read = ~self.clusters.writes[rows]
        depth = self.depth[cluster]
        order = np.lexsort((columns.start[rows], read, depth, root, begin, columns.key[rows]))
        return rows[order]


def _running_max(values: Ints, segment: Ints, span: int) -> tuple[Ints, Ints]:
    """Running maximum within each segment, and where it was reached first; values under span."""
    lifted = values + segment * (span + 2)
    peak = np.maximum.accumulate(lifted)
    fresh = np.r_[True, peak[1:] > peak[:-1]]
    at = np.maximum.accumulate(np.where(fresh, np.arange(len(values)), 0))
    return values[at], at


def _roots(parent: Ints) -> tuple[Ints, Ints, Bools]:
    """Root and depth of every node of a forest of parent pointers, and which lead into a cycle."""
    count = len(parent)
    root = parent.copy()
    depth = (parent != np.arange(count)).astype(np.int64)
    active = np.flatnonzero(depth)
    for _ in range(max(1, count).bit_length() + 1):
        if not len(active):
            break
        hop = root[active]
        depth[active] += depth[hop]
        jump = root[hop]
        moved = jump != hop
        root[active] = jump
        active = active[moved]
    return root, depth, parent[root] != root
