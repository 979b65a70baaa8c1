"""Strongly connected components: in plain Python for small graphs, by scipy for large ones.

Importing scipy takes a quarter of a second. Plain Python handles a hundred thousand edges in that
time, so small histories do without scipy.

Source: Tarjan, *Depth-first search and linear graph algorithms*, 1972, without recursion.

For :mod:`checkers.isolation.graph.cycles`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from checkers.core.columns import Int32s
from checkers.isolation.transaction_table import Ints

#: Nodes and edges up to which a graph is small.
SMALL_MAX = 50_000


def strong(src: Ints | Int32s, dst: Ints | Int32s, nodes: int) -> Ints:
    """The number of each node's component, for edges given as columns; parallel ones may be."""
    if nodes + len(src) <= SMALL_MAX:
        return np.array(_tarjan(*successors(src, dst, nodes)), dtype=np.int64)
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    # a byte an edge; parallel edges add up to one
    ones = np.ones(len(src), dtype=np.bool_)
    matrix: Any = csr_matrix((ones, (src, dst)), shape=(nodes, nodes))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    return np.asarray(labels, dtype=np.int64)


def successors(src: Ints | Int32s, dst: Ints | Int32s, nodes: int) -> tuple[list[int], list[int]]:
    """Where each node's successors begin, one place more than nodes, and all successors."""
    edges = np.unique(src.astype(np.int64) * nodes + dst)
    begins = np.searchsorted(edges, np.arange(nodes + 1, dtype=np.int64) * nodes)
    return begins.tolist(), (edges % max(nodes, 1)).tolist()


def _tarjan(begins: list[int], targets: list[int]) -> list[int]:
    """The component of each node, numbered in the order in which they are complete."""
    nodes = len(begins) - 1
    label = [-1] * nodes
    found = [0] * nodes  # when each node was found, from 1
    low = [0] * nodes  # the earliest that it is known to reach
    at = begins[:nodes]  # the successor that is next
    stack: list[int] = []
    count = components = 0
    for root in range(nodes):
        path = [] if found[root] else [root]
        while path:
            node = path[-1]
            if not found[node]:
                count += 1
                found[node] = low[node] = count
                stack.append(node)
            if at[node] < begins[node + 1]:
                other = targets[at[node]]
                if not found[other]:
                    path.append(other)  # the edge is looked at again afterwards
                    continue
                at[node] += 1
                if label[other] < 0 and low[other] < low[node]:
                    low[node] = low[other]
                continue
            path.pop()
            if low[node] == found[node]:
                while label[node] < 0:
                    label[stack.pop()] = components
                components += 1
    return label


def drain(
    order: list[int],
    into: Sequence[Sequence[int]] | Mapping[int, Sequence[int]],
    waiting: list[int] | dict[int, int],
) -> list[int]:
    """Kahn's algorithm: the order, grown by every node for which nothing is left to wait.

    Args:
        order: the nodes that wait for nothing; it is extended in place and returned.
        into: of each node, those that wait for it.
        waiting: of each node, for how many it waits; counted down.
    """
    for node in order:
        for source in into[node]:
            waiting[source] -= 1
            if not waiting[source]:
                order.append(source)
    return order
