"""Cycles in a dependency graph, by class: exact, and without a time-out per component.

Adya's classes differ in which edges a cycle has: G0 only ww; G1c ww and wr with at least one wr;
G-single exactly one rw; G-nonadjacent two or more rw, no two of them adjacent; G2 two or more rw.
With ``-item`` no rw edge is of a predicate read, without it at least one is. A wr edge of a
predicate read holds unless there is a G-single (:mod:`checkers.isolation.predicates.dependencies`):
a cycle with one has no ``-item``, and without any rw it is called G-single. The process and
realtime variants allow those edges too. Which classes occur is decided exactly:

1. strongly connected components of the whole graph; everything else is on no cycle;
2. G0 and G1c: a ww (or wr) edge inside a component of the subgraph is on a cycle of the class;
3. G-nonadjacent: a cycle in the graph of states (transaction, last edge was rw), where rw may not
   follow rw: components again, on twice the nodes. This is what snapshot isolation forbids;
4. G-single: an rw edge u -> v such that v reaches u without rw. Only components that have a
   G-nonadjacent cycle can; there, reachability is computed for thousands of targets at a time, as
   bit sets in reverse topological order, for a few edges of each component and for all of them
   only where those few decide nothing;
5. G2: any rw edge inside a component.

A class found in a component hides those it is a case of there. The cycle shown is the shortest
through any of at most ``CANDIDATES_MAX`` edges; helper nodes cost nothing. A closed walk of step 3
may pass a transaction twice, but then a cycle without rw touches it; where no simple one is found
either, G-nonadjacent is not claimed.

Source: Adya's thesis; Cerone and Gotsman, *Analysing Snapshot Isolation*; Elle's ``txn.clj``.
"""

from __future__ import annotations

import msgspec
import numpy as np

from checkers.core.budget import Meter
from checkers.isolation.consistency import implied_anomalies
from checkers.isolation.graph.components import drain, strong, successors
from checkers.isolation.graph.dependency_graph import (
    ANTI,
    PASS,
    PROCESS,
    REALTIME,
    RW,
    RWP,
    WR,
    WRP,
    WW,
    Graph,
    Ids,
)
from checkers.isolation.graph.paths import (
    SIMPLE_STEPS_MAX,
    Adjacency,
    Path,
    PathBudget,
    PathFinder,
    is_simple,
    nonadjacent_path,
    path_without_rw,
    shortest_path,
    simple_nonadjacent,
)
from checkers.isolation.transaction_table import Bools, Ints

#: Cycles shown per anomaly class: a reader learns from a few.
CYCLES_PER_CLASS_MAX = 8
#: Edges from which a shortest cycle is sought in one component.
CANDIDATES_MAX = 64
#: Components in which a cycle of one class is sought before the others are left.
COMPONENTS_TRIED_MAX = 64
#: States looked at for something shorter than the first cycle found in a component.
STEPS_PER_COMPONENT = 20_000
#: Edges of a component asked first for a cycle with a single rw.
SINGLES_ASKED_FIRST = 16
#: Targets per pass of the reachability bit sets: 1 KiB per node.
BITSET_TARGETS = 8192
#: Edges that only predicate reads have.
PREDICATE = RWP | WRP

LEVELS = ((0, ""), (PROCESS, "-process"), (PROCESS | REALTIME, "-realtime"))


class Edge(msgspec.Struct, frozen=True):
    """A step of a cycle between two transactions, helpers left out."""

    source: int
    target: int
    kind: int
    key: int
    mark: int


class Cycle(msgspec.Struct, frozen=True):
    """A cycle of a class: ``edges[i].target == edges[i + 1].source``, closed."""

    anomaly: str
    edges: tuple[Edge, ...]


def components(graph: Graph) -> Ints:
    """Strongly connected component of each node; nodes on no cycle are alone in theirs."""
    return strong(graph.src, graph.dst, graph.nodes)


def cyclic_part(graph: Graph) -> Graph:
    """Only the edges that lie on some cycle."""
    if not len(graph):
        return graph
    labels = components(graph).astype(np.int32)  # half of what is gathered for every edge
    return graph.select(labels[graph.src] == labels[graph.dst])


def find_cycles(
    graph: Graph,
    *,
    process: bool = False,
    realtime: bool = False,
    promised: str = "",
    meter: Meter | None = None,
) -> list[Cycle]:
    """Cycles of every class that occurs, at most ``CYCLES_PER_CLASS_MAX`` each.

    Args:
        graph: data edges, and process and realtime edges where wanted.
        process: look for the process variants too.
        realtime: look for the realtime variants too (and then process ones).
        promised: look for no others but these: the order of versions rests on that of ``process``
            or ``realtime``.
        meter: the budget; where it is spent, classes not reached yet are missing.
    """
    core = cyclic_part(graph)
    del graph  # large, and of no more use
    if not len(core):
        return []
    search = _Search(core, meter or Meter())
    for extra, suffix in LEVELS[: 3 if realtime else 2 if process else 1]:
        if suffix[1:] == promised or not promised:
            search.level(extra, suffix)
    return search.cycles


def any_cycles(graph: Graph, name: str, *, meter: Meter | None = None) -> list[Cycle]:
    """Some shortest cycles of any edges, at most ``CYCLES_PER_CLASS_MAX``, called ``name``."""
    core = cyclic_part(graph)
    if not len(core):
        return []
    search = _Search(core, meter or Meter())
    search.all_kinds(name)
    return search.cycles


class _Search:
    """One search over the cyclic part of a graph, its nodes numbered anew from 0."""

    def __init__(self, core: Graph, meter: Meter) -> None:
        used = np.zeros(core.nodes, dtype=np.bool_)
        used[core.src] = used[core.dst] = True
        self.names = np.flatnonzero(used)
        place = np.cumsum(used, dtype=np.int32) - np.int32(1)
        self.core = core.select(slice_all(core))
        self.core.src, self.core.dst = place[core.src], place[core.dst]
        self.core.nodes = len(self.names)
        self.core.txns = int(np.searchsorted(self.names, core.txns))
        self.labels = components(self.core)
        self.meter = meter
        self.cycles: list[Cycle] = []
        #: class -> which components have it
        self.found: dict[str, Bools] = {}
        self.adjacency: Adjacency | None = None

    def all_kinds(self, name: str) -> None:
        """Search cycles without regard to the kinds of edges."""
        self._record(name, self.core, self.core.kind != PASS, shortest_path)

    def level(self, extra: int, suffix: str) -> None:
        """Search all classes with these extra edge kinds allowed."""
        for name, kinds, must in (("G0", WW, WW), ("G1c", WW | WR, WR)):
            graph = cyclic_part(self.core.of_kinds(kinds | extra))
            self._record(name + suffix, graph, graph.kind == must, shortest_path)
        self._anti(extra, RW, "-item" + suffix)
        if ((self.core.kind & PREDICATE) != 0).any():
            self._anti(extra, RWP, suffix)

    def _anti(self, extra: int, must: int, suffix: str) -> None:
        """Search the classes with anti-dependencies: of items alone, or with one of a predicate."""
        kinds = RW if must == RW else ANTI | WRP
        if must == RWP and (self.core.kind == WRP).any():
            # where no item class was found, a cycle with an item's rw has a predicate's edge, too
            must = ANTI
            graph = cyclic_part(self.core.of_kinds(WW | WR | WRP | extra))
            self._record(f"G-single{suffix}", graph, graph.kind == WRP, shortest_path)
        graph = cyclic_part(self.core.of_kinds(WW | WR | kinds | extra))
        wanted = (graph.kind & must) != 0
        if not wanted.any() or self.meter.spent(len(graph)):
            return
        spread = nonadjacent_edges(graph) & wanted
        single = self._single_edges(graph, np.flatnonzero(spread), f"G-single{suffix}")
        self._record(f"G-single{suffix}", graph, single, path_without_rw)
        self._record(f"G-nonadjacent{suffix}", graph, spread, nonadjacent_path)
        self._record(f"G2{suffix}", graph, wanted, shortest_path)

    def _hidden(self, anomaly: str, labels: Ints) -> Bools:
        """Which components have a class already of which this one would be a case."""
        hidden: Bools = np.zeros(len(labels), dtype=np.bool_)
        for other, present in self.found.items():
            if anomaly in implied_anomalies(other):
                hidden |= present[labels]
        return hidden

    def _single_edges(self, graph: Graph, wanted: Ints, anomaly: str) -> Bools:
        """Which of these rw edges lie on a cycle with no other, if any of their component does.

        Edges with one straight back are; where a component has none, a few of its edges are asked
        first, and all of them only where none of those few is on such a cycle.
        """
        single = np.zeros(len(graph), dtype=np.bool_)
        wanted = wanted[~self._hidden(anomaly, self.labels[graph.src[wanted]])]
        if not len(wanted):
            return single
        rest = graph.select((graph.kind & ANTI) == 0)
        single[wanted[_has_return(rest, graph.src[wanted], graph.dst[wanted])]] = True
        have = np.zeros(int(self.labels.max()) + 1, dtype=np.bool_)
        have[self.labels[graph.src[single]]] = True
        wanted = wanted[~have[self.labels[graph.src[wanted]]]]
        rest, place = self._within(rest, graph.src[wanted])
        labels = self.labels[graph.src[wanted]]
        order = np.argsort(labels, kind="stable")
        wanted, labels = wanted[order], labels[order]
        starts = np.searchsorted(labels, labels)
        few = np.arange(len(wanted)) - starts < SINGLES_ASKED_FIRST
        for asked in (few, ~few):
            settled = np.zeros(len(have), dtype=np.bool_)
            settled[self.labels[graph.src[single]]] = True
            edges = wanted[asked & ~settled[labels]]
            if len(edges):
                ends = place[graph.dst[edges]], place[graph.src[edges]]
                single[edges] = reaches(rest, *ends, self.meter, groups=self.labels[place >= 0])
        return single

    def _within(self, graph: Graph, nodes: Ids) -> tuple[Graph, Ints]:
        """The part of a graph in these nodes' components, numbered anew; the new numbers."""
        inside = np.zeros(int(self.labels.max()) + 1, dtype=np.bool_)
        inside[self.labels[nodes]] = True
        chosen = inside[self.labels]
        place = np.where(chosen, np.cumsum(chosen) - 1, -1)
        part = graph.select(chosen[graph.src] & chosen[graph.dst])
        part.src, part.dst = place[part.src].astype(np.int32), place[part.dst].astype(np.int32)
        part.nodes = int(chosen.sum())
        return part, place

    def _record(self, anomaly: str, graph: Graph, candidates: Bools, path: PathFinder) -> None:
        """Note the class for each component that has candidates, and show some cycles."""
        edges = np.flatnonzero(candidates)
        labels = self.labels[graph.src[edges]]
        open_ = ~self._hidden(anomaly, labels)
        edges, labels = edges[open_], labels[open_]
        self.found.setdefault(anomaly, np.zeros(int(self.labels.max()) + 1, dtype=np.bool_))
        if not len(edges) or self.meter.spent(len(edges)):
            return
        self.found[anomaly][labels] = True
        order = np.argsort(labels, kind="stable")
        edges, labels = edges[order], labels[order]
        starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
        adjacency = self._adjacent(graph)
        shown = 0
        bounds = zip(starts.tolist(), [*starts[1:].tolist(), len(edges)])
        for tried, (low, high) in enumerate(bounds):
            if shown == CYCLES_PER_CLASS_MAX or self.meter.spent():
                return
            cycle = None
            if tried < COMPONENTS_TRIED_MAX:
                cycle = self._shortest(adjacency, _promising(graph, edges[low:high]), path)
            if cycle is not None:
                shown += 1
                self.cycles.append(Cycle(anomaly, self._collapse(graph, cycle)))
            elif path is nonadjacent_path:
                self.found[anomaly][labels[low]] = False
            elif not self.meter.spent():
                raise AssertionError(f"{anomaly} was decided but no cycle of it was found")

    def _shortest(
        self, adjacency: Adjacency, candidates: list[int], path: PathFinder
    ) -> Path | None:
        """The shortest simple cycle through one of the candidates that the budgets allow."""
        graph = adjacency.graph
        best: Path | None = None
        shortest = graph.txns + 1
        left = STEPS_PER_COMPONENT
        for edge in candidates:
            steps = None if best is None else left
            budget = PathBudget(self.meter, steps=steps, length=shortest - 1)
            rest = path(adjacency, int(graph.dst[edge]), int(graph.src[edge]), budget)
            left -= budget.used
            if rest is not None and is_simple(graph, [edge, *rest]):
                best = [edge, *rest]
                shortest = adjacency.length(best)
            if shortest == 2 or left <= 0:
                break
        if best is None and path is nonadjacent_path:
            budget = PathBudget(self.meter, steps=SIMPLE_STEPS_MAX)
            for edge in candidates:
                rest = simple_nonadjacent(
                    adjacency, int(graph.dst[edge]), int(graph.src[edge]), budget
                )
                if rest is not None:
                    return [edge, *rest]
        return best

    def _adjacent(self, graph: Graph) -> Adjacency:
        """Edges by node; kept for the next class of the same graph."""
        if self.adjacency is None or self.adjacency.graph is not graph:
            self.adjacency = Adjacency(graph)
        return self.adjacency

    def _collapse(self, graph: Graph, cycle: list[int]) -> tuple[Edge, ...]:
        """The cycle's edges between transactions: a run through helpers becomes one edge."""
        txns = graph.txns
        start = next(i for i, edge in enumerate(cycle) if graph.src[edge] < txns)
        turned = cycle[start:] + cycle[:start]
        steps: list[Edge] = []
        entry = turned[0]
        for edge in turned:
            if graph.src[edge] < txns:
                entry = edge
            if graph.dst[edge] < txns:
                steps.append(
                    Edge(
                        source=int(self.names[graph.src[entry]]),
                        target=int(self.names[graph.dst[edge]]),
                        kind=int(graph.kind[entry]),
                        key=int(graph.key[entry]),
                        mark=int(graph.mark[entry]),
                    )
                )
        return tuple(steps)


def slice_all(graph: Graph) -> Ints:
    """Indices of all edges: selecting them copies the graph."""
    return np.arange(len(graph), dtype=np.int64)


def _has_return(graph: Graph, src: Ints | Ids, dst: Ints | Ids) -> Bools:
    """For which of these edges the graph has one straight back."""
    if not len(graph) or not len(src):
        return np.zeros(len(src), dtype=np.bool_)
    begins, ends = (np.zeros(graph.nodes, dtype=np.bool_) for _ in range(2))
    begins[dst] = ends[src] = True
    maybe = np.flatnonzero(begins[graph.src] & ends[graph.dst])
    nodes = np.int64(graph.nodes)
    back = np.sort(graph.src[maybe] * nodes + graph.dst[maybe])
    back = np.append(back, nodes * nodes)  # after all, so that every search ends at something
    there = dst * nodes + src
    found: Bools = back[np.searchsorted(back, there)] == there
    return found


def _promising(graph: Graph, candidates: Ints) -> list[int]:
    """At most ``CANDIDATES_MAX`` edges to seek a shortest cycle from, two-cycles first."""
    if len(candidates) <= CANDIDATES_MAX:
        return [int(edge) for edge in candidates]
    back = _has_return(graph, graph.src[candidates], graph.dst[candidates])
    chosen = np.concatenate([candidates[back], candidates[~back]])
    return [int(edge) for edge in chosen[:CANDIDATES_MAX]]


def nonadjacent_edges(graph: Graph) -> Bools:
    """Which rw edges lie on a closed walk without two adjacent rw edges.

    Node x splits into x (last edge was not rw) and x + n (it was); rw leads only from the first
    to the second. A helper edge keeps the state.
    """
    n = graph.nodes
    is_rw = (graph.kind & ANTI) != 0
    passing = graph.kind == PASS
    plain = ~is_rw & ~passing
    src = np.concatenate(
        [graph.src[is_rw], graph.src[plain], graph.src[plain] + n, graph.src[passing],
         graph.src[passing] + n]
    )  # fmt: skip
    dst = np.concatenate(
        [graph.dst[is_rw] + n, graph.dst[plain], graph.dst[plain], graph.dst[passing],
         graph.dst[passing] + n]
    )  # fmt: skip
    none = np.full(len(src), -1, dtype=np.int32)
    kinds = np.full(len(src), PASS, dtype=np.uint8)
    doubled = Graph(txns=2 * n, nodes=2 * n, src=src, dst=dst, kind=kinds, key=none, mark=none)
    labels = components(doubled)
    on_cycle: Bools = np.zeros(len(graph), dtype=np.bool_)
    on_cycle[is_rw] = labels[graph.src[is_rw]] == labels[graph.dst[is_rw] + n]
    return on_cycle


def reaches(
    graph: Graph,
    starts: Ints | Ids,
    goals: Ints | Ids,
    meter: Meter | None = None,
    *,
    groups: Ints | None = None,
) -> Bools:
    """For each pair, whether ``starts[i]`` reaches ``goals[i]`` along the graph's edges.

    Exact, unless the budget runs out: then a False may be wrong, and a True is still right. Nodes
    of different ``groups`` never reach one another, so that goals of different groups can share a
    bit.
    """
    meter = meter or Meter()
    labels = components(graph)
    count = int(labels.max()) + 1
    a, b = labels[starts], labels[goals]
    answer: Bools = np.asarray(a == b, dtype=np.bool_)
    open_pairs = np.flatnonzero(~answer)
    if not len(open_pairs):
        return answer
    across = labels[graph.src] != labels[graph.dst]
    src, dst = labels[graph.src[across]], labels[graph.dst[across]]
    begins, after = successors(src, dst, count)
    order = _reverse_topological(begins, after, count)
    targets, seen_at = np.unique(b[open_pairs], return_index=True)
    group = np.zeros(graph.nodes, dtype=np.int64) if groups is None else groups
    of = group[goals[open_pairs[seen_at]]]
    by_group = np.argsort(of, kind="stable")
    targets, of = targets[by_group], of[by_group]
    rank = np.arange(len(targets)) - np.searchsorted(of, of)
    for low in range(0, int(rank.max()) + 1, BITSET_TARGETS):
        if meter.spent(count):
            break
        now = (rank >= low) & (rank < low + BITSET_TARGETS)
        bit = dict(zip(targets[now].tolist(), (rank[now] - low).tolist()))
        bits = _reachable_bits(begins, after, order, bit)
        for pair in open_pairs.tolist():
            place = bit.get(int(b[pair]))
            if place is not None and bits[int(a[pair])] >> place & 1:
                answer[pair] = True
    return answer


def _reverse_topological(indptr: list[int], indices: list[int], count: int) -> list[int]:
    """Nodes of a DAG such that every node comes after all it points to."""
    waiting = [indptr[node + 1] - indptr[node] for node in range(count)]
    into: list[list[int]] = [[] for _ in range(count)]
    for node in range(count):
        for target in indices[indptr[node] : indptr[node + 1]]:
            into[target].append(node)
    order = [node for node in range(count) if not waiting[node]]
    return drain(order, into, waiting)


def _reachable_bits(
    indptr: list[int], indices: list[int], order: list[int], bit: dict[int, int]
) -> list[int]:
    """For each node the set of chosen targets it reaches, as the bits of one integer."""
    bits = [0] * (len(indptr) - 1)
    for node in order:
        place = bit.get(node)
        reached = 0 if place is None else 1 << place
        for target in indices[indptr[node] : indptr[node + 1]]:
            reached |= bits[target]
        bits[node] = reached
    return bits
