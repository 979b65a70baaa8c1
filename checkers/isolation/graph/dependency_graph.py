"""The dependency graph: typed edges between transactions, as columns.

Nodes 0..n-1 are transactions. Two kinds of helper node keep the number of edges linear where the
definition is quadratic, and stand for nothing themselves:

- *barriers*: time between bursts of completions. A completed transaction points to the barrier
  after its completion, barriers point onward, and a barrier points to what is invoked after it.
  A path through barriers is exactly "completed before the other was invoked".
- *tails*: appends of one key that no read shows come after everything that was read, in an
  unknown order among themselves. Prefix and suffix nodes over them let a transaction that is itself
  among them point to all the others and not to itself.

Every edge has a kind; helper edges that only pass on are ``PASS`` and belong to every subgraph.

Source: Adya, *Weak Consistency*; Elle's ``core.clj`` and ``txn.clj`` for what the kinds mean.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from checkers.history import OK
from checkers.isolation.transaction_table import Bools, Ints, Txns

WW, WR, RW, PROCESS, REALTIME, PASS = 1, 2, 4, 8, 16, 32
#: an anti-dependency of a predicate read: it did not find what the target made match
RWP = 64
#: a dependency of a predicate read: it saw the source make a key stop matching
WRP = 128
#: both kinds of anti-dependency
ANTI = RW | RWP
KIND_NAMES = {
    WW: "ww",
    WR: "wr",
    RW: "rw",
    PROCESS: "process",
    REALTIME: "realtime",
    RWP: "rw-predicate",
    WRP: "wr-predicate",
}

Ids = npt.NDArray[np.int32]
Kinds = npt.NDArray[np.uint8]


class Graph:
    """Edges in columns.

    Args:
        txns: number of transactions (nodes 0..txns-1).
        nodes: number of nodes, helpers included.
        src, dst: the edges.
        kind: kind of each edge.
        key: key code the edge is about, or -1.
        mark: what proves it: an index that the inference which made the edge understands, or -1.
    """

    def __init__(
        self, *, txns: int, nodes: int, src: Ids, dst: Ids, kind: Kinds, key: Ids, mark: Ids
    ) -> None:
        self.txns = txns
        self.nodes = nodes
        self.src = src
        self.dst = dst
        self.kind = kind
        self.key = key
        self.mark = mark

    def __len__(self) -> int:
        return len(self.src)

    def select(self, edges: Bools | Ints) -> Graph:
        """The graph with only these edges, same nodes."""
        return Graph(
            txns=self.txns,
            nodes=self.nodes,
            src=self.src[edges],
            dst=self.dst[edges],
            kind=self.kind[edges],
            key=self.key[edges],
            mark=self.mark[edges],
        )

    def of_kinds(self, kinds: int) -> Graph:
        """The subgraph of these kinds; helper edges stay."""
        return self.select((self.kind & np.uint8(kinds | PASS)) != 0)


class GraphBuilder:
    """Collects edges; self-edges are dropped."""

    def __init__(self, txns: int) -> None:
        self.txns = txns
        self.nodes = txns
        self._parts: list[tuple[Ids, Ids, Kinds, Ids, Ids]] = []

    def new_nodes(self, count: int) -> int:
        """Room for helper nodes; returns the first one's number."""
        first = self.nodes
        self.nodes += count
        return first

    def add(
        self,
        src: Ints | Ids,
        dst: Ints | Ids,
        kind: int,
        *,
        key: Ints | None = None,
        mark: Ints | None = None,
    ) -> None:
        """Add edges of one kind."""
        keep = np.flatnonzero(src != dst)
        if len(keep) < len(src):
            src, dst = src[keep], dst[keep]
            key = None if key is None else key[keep]
            mark = None if mark is None else mark[keep]
        none = np.full(len(src), -1, dtype=np.int32)
        self._parts.append(
            (
                src.astype(np.int32),
                dst.astype(np.int32),
                np.full(len(src), kind, dtype=np.uint8),
                none if key is None else key.astype(np.int32),
                none if mark is None else mark.astype(np.int32),
            )
        )

    def ends(self) -> list[tuple[Ids, Ids]]:
        """Sources and targets of everything added, in parts."""
        return [(part[0], part[1]) for part in self._parts if len(part[0])]

    def of_kinds(self, kinds: int) -> Graph:
        """The graph of the edges of these kinds so far, with the helper edges."""
        wanted = np.uint8(kinds | PASS)
        parts = [part for part in self._parts if len(part[2]) and part[2][0] & wanted]
        empty = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint8))
        src, dst, kind, key, mark = (
            map(np.concatenate, zip(*parts)) if parts else (*empty, empty[0], empty[0])
        )
        return Graph(
            txns=self.txns, nodes=self.nodes, src=src, dst=dst, kind=kind, key=key, mark=mark
        )

    def build(self) -> Graph:
        """The graph of everything added, which is forgotten here: it is large."""
        if not self._parts:
            self.add(np.empty(0, np.int64), np.empty(0, np.int64), PASS)
        columns = [list(column) for column in zip(*self._parts)]
        self._parts = []
        columns.reverse()
        # a column's parts go as soon as it is whole
        src, dst, kind, key, mark = (np.concatenate(columns.pop()) for _ in range(5))
        return Graph(
            txns=self.txns, nodes=self.nodes, src=src, dst=dst, kind=kind, key=key, mark=mark
        )


def add_process_edges(builder: GraphBuilder, txns: Txns, members: Bools) -> None:
    """Chain each process's transactions in order of invocation; only ok ones are sources.

    An unknown outcome may still take effect later, so nothing follows from it.
    """
    chosen = np.flatnonzero(members)
    order = chosen[np.argsort(txns.process[chosen], kind="stable")]
    process = txns.process[order]
    ok = txns.type[order] == OK
    # the last ok transaction at or before each position, within one process
    position = np.where(ok, np.arange(len(order)), -1)
    last_ok = np.maximum.accumulate(position) if len(order) else position
    previous = np.concatenate([[-1], last_ok[:-1]]) if len(order) else last_ok
    linked = previous >= 0
    linked[linked] &= process[previous[linked]] == process[linked]
    builder.add(order[previous[linked]], order[linked], PROCESS)


def add_realtime_edges(builder: GraphBuilder, txns: Txns, members: Bools) -> None:
    """Edges from every completed transaction to every one invoked later, through barriers."""
    chosen = np.flatnonzero(members)
    done = chosen[(txns.type[chosen] == OK) & (txns.complete[chosen] >= 0)]
    if not len(done):
        return
    size = len(txns.history) + 1
    completes = np.zeros(size, dtype=bool)
    completes[txns.complete[done]] = True
    invokes = np.zeros(size, dtype=bool)
    invokes[txns.invoke[chosen]] = True
    events = np.flatnonzero(completes | invokes)
    is_done = completes[events]
    # a burst is a maximal run of completions with no invocation between them
    starts = is_done & np.concatenate([[True], ~is_done[:-1]])
    burst = np.zeros(size, dtype=np.int64)
    burst[events] = np.cumsum(starts)
    bursts = int(starts.sum())
    first = builder.new_nodes(bursts)
    builder.add(done, first + burst[txns.complete[done]] - 1, REALTIME)
    chain = first + np.arange(bursts - 1, dtype=np.int64)
    builder.add(chain, chain + 1, REALTIME)
    later = burst[txns.invoke[chosen]]
    after = later > 0
    builder.add(first + later[after] - 1, chosen[after], REALTIME)


def add_tails(
    builder: GraphBuilder,
    *,
    tail_txn: Ints,
    tail_key: Ints,
    edges: Iterable[tuple[Ints, Ints, int, Ints | None]],
) -> None:
    """Edges from transactions to all unread writes of a key except their own.

    Args:
        builder: where to add them.
        tail_txn, tail_key: the unread writes, distinct pairs, sorted by key.
        edges: ``(sources, key codes, kind, marks)``: each source gets an edge of that kind to every
            tail of its key.
    """
    count = len(tail_txn)
    if not count:
        return
    prefix = builder.new_nodes(count)
    suffix = builder.new_nodes(count)
    at = np.arange(count, dtype=np.int64)
    same = tail_key[1:] == tail_key[:-1]
    for base in (prefix, suffix):
        builder.add(base + at, tail_txn, PASS)
    builder.add(prefix + at[1:][same], prefix + at[:-1][same], PASS)
    builder.add(suffix + at[:-1][same], suffix + at[1:][same], PASS)
    span = int(tail_txn.max()) + 1
    own_code = tail_key * span + tail_txn
    own_sort = np.argsort(own_code, kind="stable")
    for sources, keys, kind, marks in edges:
        low = np.searchsorted(tail_key, keys, side="left")
        high = np.searchsorted(tail_key, keys, side="right")
        some = high > low
        sources, keys, low, high = sources[some], keys[some], low[some], high[some]
        marks = None if marks is None else marks[some]
        code = np.where(sources < span, keys * span + sources, -1)
        found = np.searchsorted(own_code, code, sorter=own_sort)
        found = np.minimum(found, count - 1)
        mine = own_sort[found]
        among = own_code[mine] == code
        _tail_edges(builder, ~among, sources, prefix + high - 1, kind, keys, marks)
        _tail_edges(builder, among & (mine > low), sources, prefix + mine - 1, kind, keys, marks)
        _tail_edges(
            builder, among & (mine < high - 1), sources, suffix + mine + 1, kind, keys, marks
        )


def _tail_edges(
    builder: GraphBuilder,
    chosen: Bools,
    sources: Ints,
    targets: Ints,
    kind: int,
    keys: Ints,
    marks: Ints | None,
) -> None:
    builder.add(
        sources[chosen],
        targets[chosen],
        kind,
        key=keys[chosen],
        mark=None if marks is None else marks[chosen],
    )
