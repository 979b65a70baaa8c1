"""The dependencies between appends: what a history of lists adds to the graph.

Problem. Every write, read and anti-dependency must be in the graph, but a key with thousands of
versions must not add a quadratic number of edges.

Solution. Successive versions give ww edges; the last version a read shows gives wr; the version
after it gives rw. Appends that no read shows come after everything that was read; they hang on one
tail node per key (:func:`~checkers.isolation.graph.dependency_graph.add_tails`). Predicate reads
ask here before which writers they came.

Invariants. The mark of an edge is a position in the version orders. Excluded keys, and appends of
transactions that are not members, add no edge.

What breaks without it: a missing edge hides a cycle; an edge without a proof invents one.

Source: Kingsbury and Alvaro, *Elle*, VLDB 2020; the tail nodes are our own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from checkers.history import FAIL
from checkers.isolation.graph.dependency_graph import RW, WR, WW, GraphBuilder, add_tails
from checkers.isolation.inference.append_versions import AppendVersions
from checkers.isolation.inference.version_orders import ListColumns, next_usable
from checkers.isolation.predicates.match_changes import MatchChange, list_match_changes
from checkers.isolation.predicates.matching import Predicate, matches, matches_grown
from checkers.isolation.predicates.predicate_reads import Changer
from checkers.isolation.transaction_table import Bools, Ints


class AppendEdges:
    """The data edges of one list-append history.

    Attributes:
        previous: of each position in the version orders, the last usable one up to it, or -1;
            int64, (elements,). Known once :meth:`add` ran.

    Args:
        versions: the version orders.
        lists: the same, compared with the reads.
    """

    def __init__(self, versions: AppendVersions, lists: ListColumns) -> None:
        self.versions, self.lists = versions, lists
        self.txns, self.orders = lists.txns, lists.orders
        self.previous: Ints = np.empty(0, dtype=np.int64)
        self._unread: dict[int, list[int]] | None = None

    def add(self, builder: GraphBuilder) -> None:
        """Add every ww, wr and rw dependency. Marks are positions in the version orders."""
        txns, orders = self.txns, self.orders
        writer = np.full(len(orders.element), -1, dtype=np.int64)
        known = orders.writer_mop >= 0
        writer[known] = txns.mop_txn[orders.writer_mop[known]]
        usable = known & self.lists.members[np.maximum(writer, 0)]
        usable &= ~self.lists.excluded[orders.key]
        at = np.arange(len(writer), dtype=np.int64)
        previous = np.maximum.accumulate(np.where(usable, at, -1)) if len(at) else at
        following = next_usable(usable)
        self.previous = previous
        self._add_ww(builder, writer, usable, previous)
        readers = np.flatnonzero(
            self.lists.is_prefix & ~self.lists.excluded[txns.mop_key[self.lists.reads]]
        )
        mops = self.lists.reads[readers]
        txn, key = txns.mop_txn[mops], txns.mop_key[mops]
        low, seen = orders.base[key], orders.base[key] + self.lists.read_len[readers]
        if len(at):
            last = previous[np.maximum(seen - 1, 0)]
            has = np.flatnonzero((self.lists.read_len[readers] > 0) & (last >= low))
            builder.add(writer[last[has]], txn[has], WR, key=key[has], mark=last[has])
            padded = np.append(following, len(writer))
            nxt = padded[np.minimum(seen, len(writer))]
        else:
            nxt = np.zeros(len(seen), dtype=np.int64)
        later = nxt < orders.base[key + 1]
        more, end = np.flatnonzero(later), np.flatnonzero(~later)
        nxt = nxt[more]
        builder.add(txn[more], writer[nxt], RW, key=key[more], mark=nxt)
        self._add_unread(builder, writer, previous, txn[end], key[end])

    def _add_ww(self, builder: GraphBuilder, writer: Ints, usable: Bools, previous: Ints) -> None:
        if len(writer) < 2:
            return
        target = np.flatnonzero(usable)
        target = target[target > 0]
        source = previous[target - 1]
        key = self.orders.key[target]
        keep = np.flatnonzero((source >= 0) & (self.orders.key[np.maximum(source, 0)] == key))
        source, target = source[keep], target[keep]
        builder.add(writer[source], writer[target], WW, key=key[keep], mark=target)

    def _add_unread(
        self, builder: GraphBuilder, writer: Ints, previous: Ints, readers: Ints, read_keys: Ints
    ) -> None:
        """Appends that no read shows: after the last version read, its writer and its readers."""
        txns, orders = self.txns, self.orders
        mops = self.versions.writes[self.lists.write_pos[self.versions.writes] < 0]
        mops = mops[self.lists.members[txns.mop_txn[mops]]]
        mops = mops[~self.lists.excluded[txns.mop_key[mops]]]
        if not len(mops):
            return
        span = max(1, len(txns))
        code = np.sort(txns.mop_key[mops] * span + txns.mop_txn[mops])
        code = code[np.diff(code, prepend=-1) > 0]
        tail_key, tail_txn = code // span, code % span
        keys = np.unique(tail_key)
        end = orders.base[keys + 1] - 1
        last = previous[np.maximum(end, 0)] if len(previous) else np.full(len(keys), -1)
        has = (last >= orders.base[keys]) & (end >= 0)
        add_tails(
            builder,
            tail_txn=tail_txn,
            tail_key=tail_key,
            edges=[
                (writer[last[has]], keys[has], WW, last[has]),
                (readers, read_keys, RW, None),
            ],
        )

    def changers(self, key: int, predicate: Predicate) -> Sequence[Changer]:
        """The writers before which a read came that found no match at a key.

        All versions from such a writer's on match: those of the longest read, and whatever unread
        appends may have made of it.
        """
        if self.lists.excluded[key]:
            return ()
        orders, name = self.orders, self.txns.keys[key]
        low, high = int(orders.base[key]), int(orders.base[key + 1])
        longest = self.lists.longest[key]
        if predicate is None:
            first = 0
        else:
            sizes = range(high - low, -1, -1)
            miss = next(n for n in sizes if not matches(predicate, name, longest[:n]))
            first = miss
        unread = [] if key in self.versions.lone else self.unread_of(key)
        if not all(
            matches_grown(predicate, name, longest, more) for more in range(1, len(unread) + 1)
        ):
            return ()
        for at in range(low + first, high):
            mop = int(orders.writer_mop[at])
            if mop >= 0 and self.lists.members[self.txns.mop_txn[mop]]:
                return [(at, int(self.txns.mop_txn[mop]))]
        if high > low:
            return ()
        writers = dict.fromkeys(int(self.txns.mop_txn[mop]) for mop in unread)
        return [(-1, txn) for txn in writers if self.lists.members[txn]]

    def match_changes(self, key: int, predicate: Predicate) -> Sequence[MatchChange]:
        """Where the versions of a key stop matching."""
        return list_match_changes(self.lists, key, predicate)

    def unread_of(self, key: int) -> list[int]:
        """Appends to a key that are in no read and did not fail."""
        if self._unread is None:
            mops = self.versions.writes[self.lists.write_pos[self.versions.writes] < 0]
            mops = mops[self.txns.type[self.txns.mop_txn[mops]] != FAIL]
            self._unread = {}
            for mop, code in zip(mops.tolist(), self.txns.mop_key[mops].tolist()):
                self._unread.setdefault(code, []).append(mop)
        return self._unread.get(key, [])
