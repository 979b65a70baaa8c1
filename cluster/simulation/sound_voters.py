"""Sound voters: no damage may leave a configuration without a majority of sound disks.

Problem. A fault that damages the disks of a majority of voters destroys what no system could keep,
and a loss that follows is no bug. Counting nodes is not enough. While members change there are
fewer voters than nodes, and of five nodes that host many groups each group has three.

Solution. Every node says which configurations it knows: the voters, the outgoing voters of a change
that is under way, and both for each group that it hosts. Any of them may be in force, since a node
with an old one may yet stand for election. Damage is allowed only if in each of them, and in the
same without the nodes that were asked to leave, the sound disks stay a majority. Where a key lives
on a few nodes of a ring, and any so many of them may be its replicas, no more disks may be damaged
than a majority of its copies can miss.

Invariants. The answer is no whenever one of the sets would lose its majority to damage. An empty
set forbids nothing.

Used by :mod:`cluster.simulation.damaging`, and by the harness for disks of real nodes. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

#: Fields of a status that name voters.
_VOTERS = ("members", "outgoing")


def voter_sets(status: Mapping[str, Any]) -> list[frozenset[str]]:
    """The sets of voters that a node's status names, of the node's groups too; none is empty.

    Args:
        status: as ``status()`` of a core gives it.
    """
    rows = status.get("groups") or ()
    groups = [row for row in rows if isinstance(row, Mapping)] if _is_list(rows) else []
    named = [each.get(part) for each in (status, *groups) for part in _VOTERS]
    return list(dict.fromkeys(frozenset(each) for each in named if each and _are_names(each)))


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _are_names(value: Any) -> bool:
    return _is_list(value) and all(isinstance(each, str) for each in value)


def spare_disks(nodes: int, copies: int = 0) -> int:
    """How many disks may be damaged at once, so that everything keeps a majority of sound copies.

    Args:
        nodes: how many there are.
        copies: on how many of them each thing is; 0 for all.
    """
    return (min(nodes, copies or nodes) - 1) // 2


def majority_stays(
    damaged: AbstractSet[str], sets: Iterable[AbstractSet[str]], leaving: Collection[str] = ()
) -> bool:
    """Whether each set of voters keeps a majority of sound disks.

    Args:
        damaged: members whose disks are damaged, with the one that is about to be.
        sets: configurations that may be in force.
        leaving: members that were asked to leave, and may be voters no more.
    """
    for voters in sets:
        for left in (voters, voters - {*leaving}):
            unsound = len(damaged & left)
            if unsound and unsound * 2 >= len(left):
                return False
    return True
