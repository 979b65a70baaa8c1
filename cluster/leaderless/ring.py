"""The ring: on which members a key lives, now and while the members change.

Problem. The replicas of a key follow from the members. Two coordinators that know different members
name different replicas, and a quorum of the one need not meet a quorum of the other.

Solution. A ring is an agreed view of the members, with a number
(:mod:`cluster.leaderless.ring_changes`). A change of the members takes two rings. The first is
*joint*: it has the members before and those to come, and everything needs a quorum of the replicas
of a key among the former, and one among the latter. In the second ring the members to come are
alone. Nodes take each other's messages only under the same ring, so an answer never counts
under another ring than the one it was given under.

Invariants. Quorums under one ring meet, and so do those under two rings that follow each other:
each ring shares a whole set of members with the next one.

What breaks without it. A11e: while members change, a quorum of the members to come is enough, and
what a coordinator of the ring before acknowledges is missed.

Source: Ongaro's joint consensus (Raft thesis, 4.3) for the two sets; Lynch and Shvartsman, "RAMBO"
(2002), for quorums of two configurations. Pure; used by ``cluster.leaderless``.
"""

from __future__ import annotations

from collections.abc import Collection

from cluster.leaderless.placement import preference_list
from cluster.ports import NodeId
from cluster.wire import StableView

#: The replicas of a key among one set of members, or among each of two.
Halves = tuple[tuple[NodeId, ...], ...]


def plain_key(key: str) -> str:
    """The client's key, of one with the kind of its values in front."""
    return key.partition(":")[2]


class Ring:
    """The placement of keys over an agreed view.

    Args:
        view: the members.
        replicas: how many nodes hold a key, if there are so many.
    """

    __slots__ = ("_halves", "_places", "_replicas", "members", "number", "view")

    def __init__(self, view: StableView, *, replicas: int) -> None:
        self.view = view
        self.number = view.id
        #: all who take part, those before and those to come
        self.members = tuple(dict.fromkeys((*view.before, *view.members)))
        self._replicas = replicas
        self._halves: dict[str, Halves] = {}
        self._places: dict[str, tuple[NodeId, ...]] = {}

    @property
    def joint(self) -> bool:
        """Whether the members are changing."""
        return bool(self.view.before)

    def deciding(self) -> tuple[tuple[NodeId, ...], ...]:
        """Decision: the sets of members in each of which a quorum is needed."""
        view = self.view
        return (view.before, view.members) if view.before else (view.members,)

    def halves(self, key: str) -> Halves:
        """The replicas of a key in each of those sets."""
        found = self._halves.get(key)
        if found is None:
            name, count = plain_key(key), self._replicas
            found = tuple(preference_list(name, each)[:count] for each in self.deciding())
            self._halves[key] = found
        return found

    def asked(self, key: str) -> Halves:
        """The sets of replicas whose quorums are owed, whatever was decided; for invariants."""
        view, name, count = self.view, plain_key(key), self._replicas
        sets = [each for each in (view.before, view.members) if each]
        return tuple(preference_list(name, each)[:count] for each in sets)

    def replicas(self, key: str) -> tuple[NodeId, ...]:
        """All nodes that hold a key; while members change, the former replicas and the new ones."""
        found = self._places.get(key)
        if found is None:
            found = tuple(dict.fromkeys(node for half in self.asked(key) for node in half))
            self._places[key] = found
        return found

    def preference(self, key: str) -> tuple[NodeId, ...]:
        """The replicas of a key, and behind them all others in the order they stand in for them."""
        replicas = self.replicas(key)
        others = preference_list(plain_key(key), self.members)
        return (*replicas, *(node for node in others if node not in replicas))

    def gains(self, key: str, node: NodeId) -> bool:
        """Whether the change under way makes a node a replica of a key, or one of fewer."""
        view = self.view
        if not view.before or node not in view.members:
            return False
        name, count = plain_key(key), self._replicas
        before = preference_list(name, view.before)[:count]
        after = preference_list(name, view.members)[:count]
        return node in after and (node not in before or len(after) < len(before))

    def gainers(self) -> tuple[NodeId, ...]:
        """The members that may gain keys by the change under way."""
        view = self.view
        joined = tuple(node for node in view.members if node not in view.before)
        return joined or view.members


class RingFence:
    """Which messages of other nodes are taken."""

    __slots__ = ()

    def takes(self, theirs: int, own: int) -> bool:
        """Decision: whether a message is taken that was sent under a ring.

        Args:
            theirs: the number of its ring.
            own: that of this node's.
        """
        return theirs == own


def is_quorum(halves: Halves, have: Collection[NodeId], wanted: int) -> bool:
    """Whether some nodes are a quorum of a key's replicas, in each set of members.

    Args:
        halves: the replicas.
        have: the nodes.
        wanted: how many replicas a quorum is; all, if there are no more.
    """
    return all(sum(node in have for node in half) >= min(wanted, len(half)) for half in halves)
