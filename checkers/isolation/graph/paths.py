"""Paths through a dependency graph: the part of a cycle that leads back to where it began.

Problem. A class of cycles says which edges may follow each other: G-nonadjacent has no two adjacent
rw edges. The cycle shown to a reader should be short.

Solution. A breadth-first walk over pairs (node, state). The state says what may follow: anything,
or "the last edge was rw". Edges from helper nodes cost nothing, so the length counts transactions.

Invariants. Every search has a budget of steps. A class that occurs must be shown, so the first
search for a class is ended only by the budget of the whole check. Later searches, which look for a
shorter cycle, end when their own budget is empty.

A shortest closed walk without two adjacent rw edges may pass a transaction twice, where it runs
through a cycle that has no rw edge. Then :func:`simple_nonadjacent` looks for a walk that does not,
exhaustively up to a bound, as the problem is NP-hard.

For :mod:`checkers.isolation.graph.cycles`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from checkers.core.budget import Meter
from checkers.isolation.graph.dependency_graph import ANTI, PASS, Graph
from checkers.isolation.transaction_table import Ints

#: Steps between looks at the budget.
METER_INTERVAL = 2048
#: Steps of the exhaustive search for a simple cycle.
SIMPLE_STEPS_MAX = 20_000

Path = list[int]
State = tuple[int, int]
Came = dict[State, tuple[int, State] | None]
PathFinder = Callable[["Adjacency", int, int, "PathBudget"], Path | None]


class PathBudget:
    """The steps that one search has left.

    Args:
        meter: the budget of the whole check.
        steps: states this search may look at, or None for no limit of its own.
        length: paths of this many transactions or more are of no use, or None.
    """

    def __init__(self, meter: Meter, *, steps: int | None = None, length: int | None = None):
        self.meter = meter
        self.steps = steps
        self.length = length
        self.used = 0

    def empty(self) -> bool:
        """Count a step; whether there may be no further one."""
        self.used += 1
        if self.used % METER_INTERVAL == 0 and self.meter.spent(METER_INTERVAL):
            return True
        return self.steps is not None and self.used > self.steps


class Adjacency:
    """Out-edges by node, kinds in the order ww, wr, rw, process, realtime, helpers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.txns = graph.txns
        self.order: Ints = np.lexsort((graph.kind, graph.src)).astype(np.int64)
        self.first = np.searchsorted(graph.src[self.order], np.arange(graph.nodes + 1))

    def out(self, node: int) -> list[tuple[int, int, int]]:
        """The edges that leave a node: (edge, target, kind)."""
        edges = self.order[self.first[node] : self.first[node + 1]]
        graph = self.graph
        return list(
            zip(edges.tolist(), graph.dst[edges].tolist(), graph.kind[edges].tolist(), strict=True)
        )

    def length(self, cycle: Path) -> int:
        """Number of transactions on a path of edges: helpers cost nothing."""
        return int((self.graph.src[cycle] < self.txns).sum())


def _search(
    adjacency: Adjacency,
    start: State,
    goal: Callable[[State], bool],
    step: Callable[[int, int], int | None],
    budget: PathBudget,
) -> Path | None:
    """0-1 breadth-first search; ``step(state, kind)`` is None to forbid an edge."""
    came: Came = {start: None}
    done: set[State] = set()
    cost = {start: 0}
    queue = deque([start])
    while queue:
        at = queue.popleft()
        if at in done:
            continue
        done.add(at)
        if goal(at):
            return _path(came, at)
        weight = 1 if at[0] < adjacency.txns else 0
        total = cost[at] + weight
        if budget.empty():
            return None
        if budget.length is not None and total >= budget.length:
            continue
        for edge, target, kind in adjacency.out(at[0]):
            state = step(at[1], kind)
            if state is None:
                continue
            node = (target, state)
            if total < cost.get(node, 1 << 60):
                cost[node] = total
                came[node] = (edge, at)
                if weight:
                    queue.append(node)
                else:
                    queue.appendleft(node)
    return None


def _path(came: Came, at: State) -> Path:
    path: Path = []
    link = came[at]
    while link is not None:
        path.append(link[0])
        link = came[link[1]]
    return path[::-1]


def shortest_path(adjacency: Adjacency, start: int, goal: int, budget: PathBudget) -> Path | None:
    """Edges of a shortest path, or None if the budget is spent."""
    return _search(adjacency, (start, 0), lambda at: at[0] == goal, lambda state, kind: 0, budget)


def path_without_rw(adjacency: Adjacency, start: int, goal: int, budget: PathBudget) -> Path | None:
    """Edges of a shortest path without rw."""
    return _search(
        adjacency,
        (start, 0),
        lambda at: at[0] == goal,
        lambda state, kind: None if kind & ANTI else 0,
        budget,
    )


def _alternate(state: int, kind: int) -> int | None:
    """State 1 means the last typed edge was rw; another may not follow at once."""
    if kind & ANTI:
        return None if state else 1
    return state if kind == PASS else 0


def nonadjacent_path(
    adjacency: Adjacency, start: int, goal: int, budget: PathBudget
) -> Path | None:
    """The rest of a cycle whose first edge was rw, such that no two rw are adjacent."""
    return _search(adjacency, (start, 1), lambda at: at == (goal, 0), _alternate, budget)


def is_simple(graph: Graph, cycle: Path) -> bool:
    """Whether a closed walk passes every transaction once."""
    sources = [node for node in graph.src[cycle].tolist() if node < graph.txns]
    return len(set(sources)) == len(sources)


def simple_nonadjacent(
    adjacency: Adjacency, start: int, goal: int, budget: PathBudget
) -> Path | None:
    """As :func:`nonadjacent_path`, passing no node twice: exhaustive, within the budget."""
    used = {start, goal}

    def choices(node: int, state: int) -> list[tuple[int, int, int]]:
        steps = [(edge, to, _alternate(state, kind)) for edge, to, kind in adjacency.out(node)]
        return [(edge, to, after) for edge, to, after in steps if after is not None]

    stack = [iter(choices(start, 1))]
    path: Path = []
    nodes: list[int] = []
    while stack and not budget.empty():
        edge, target, state = next(stack[-1], (-1, -1, 0))
        if edge < 0:
            stack.pop()
            if path:
                path.pop()
                used.discard(nodes.pop())
        elif target == goal and not state:
            return [*path, edge]
        elif target not in used:
            used.add(target)
            nodes.append(target)
            path.append(edge)
            stack.append(iter(choices(target, state)))
    return None
