"""Names of a world's nodes, checked before anything is made of them.

Used by :mod:`cluster.simulation.world` and :mod:`cluster.simulation.connections`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def check_names(nodes: Sequence[str]) -> None:
    """Refuse names no world can have, with a ValueError."""
    if isinstance(nodes, str):
        raise ValueError(f"nodes is a list of names, not the text {nodes!r}")
    if not nodes:
        raise ValueError("a world needs at least one node")
    if len(set(nodes)) != len(nodes):
        raise ValueError(f"a node's name may appear once only: {', '.join(nodes)}")


def no_such_node(name: str, nodes: Iterable[str]) -> ValueError:
    """The error for a node that is none."""
    return ValueError(f"there is no node {name!r}; the nodes are {', '.join(nodes)}")


def founders_among(nodes: Sequence[str], founders: Sequence[str] | None) -> tuple[str, ...]:
    """The nodes a cluster begins with: all of them if none are named.

    Raises:
        ValueError: one is no node, or the list is empty.
    """
    if founders is None:
        return tuple(nodes)
    if not founders or not {*founders} <= {*nodes}:
        raise ValueError(f"founders must be some of {', '.join(nodes)}, not {list(founders)}")
    return tuple(founders)
