"""Changes of the ring: who joins and leaves, decided by a leader with a majority of the ring.

Problem. Members come and go while coordinators read and write, and no log says when. If each node
changed its ring by what it hears in gossip, two coordinators would have two rings for as long as
gossip takes, and an acknowledged write could be on replicas that no reader asks.

Solution. Gossip tells who is there and who would like to join; it does not change the ring. Rings
are numbered and form one chain: a majority of a ring's voters agrees on the next one
(:mod:`cluster.gossip.emergent_leader`), and the oldest of them that lives proposes it, if it sees
that many alive. One member joins or leaves at a time, in two steps, and those that
are away and shall leave do so together:

1. *Joint.* The members before and those to come. Every read and write needs a quorum of both.
   Members that gain keys fetch them from the members before (:mod:`~cluster.leaderless.handover`).
2. *Settled.* The members to come alone, once each member that gains keys said that it has them. Or
   the members before alone: a change is given up if the one that joins is dead, or shall leave;
   or if one that it waits for is away, and shall leave.

A member leaves because a client wants it (``remove-member``), dead or alive; or because the node
came back under its next id. An id that left never joins again: ``n2`` comes back
as ``n2~2``, with an empty disk. The last member does not leave.

A change may wait for a member that gains keys and is away. It goes on when that one is back. Or an
operator says that it will not come back, and asks that it leave as well: then the pending change is
superseded, the ring is again as it was before, and the member that is away leaves first, for it
gains nothing by that. After that the first change is made, if it is still wanted. To say so is a
matter for operators alone: a member that is silent may be back in a second, and may have writes
that others lack. Members that are away leave together, since each of them would wait for the other.
If so many are away that they may be a quorum of some key, what only they have would be lost: then
no member has all that it gains until enough of them are back, and the change waits.

What holds while members change. Let a write be acknowledged by a quorum under ring k. Every quorum
read that begins after that finds it, under any ring:

- under ring k, or k+1, or k-1: the two rings share a set of members, of which both have quorums;
- under a settled ring that follows a joint one: a node that gained keys fetched them from all
  members of the ring before but fewer than a quorum. Each of these knew of the joint ring then, and
  takes no message of an earlier one, so an earlier write is in what it sent, or can not reach its
  quorum any more. The others that lack it are as few as before;
- a coordinator that missed rings reads nothing and writes nothing: too few nodes are left that take
  messages of its ring.

While too few members live to agree, or a change waits, the ring stays as it is, joint or not, and
reads and writes go on with the quorums that it has.

Invariants. A ring's number belongs to one list of members. A settled ring follows a joint one, and
a joint one a settled one, whose members it has on one side.

What breaks without it. A52d: messages of an older ring are taken. A52e: a change is over before
those who gain keys have them.

Source: Joshi, "Emergent Leader", "Generation Clock"; Lynch and Shvartsman, "RAMBO" (2002); Ongaro's
thesis, 4.3; for who declares a member gone: DeCandia et al., "Dynamo" (2007), 4.8.1 (members come
and go by an operator's word, not by silence), and Cassandra's ``removenode``. Used by
:mod:`cluster.leaderless.ring_member`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cluster.consensus.membership import incarnation_of, name_of
from cluster.leaderless.ring import Ring
from cluster.ports import NodeId
from cluster.wire import StableView

#: Rounds for which a wish that a member leave is remembered; who asks repeats it in each.
WISH_ROUNDS = 5


def is_retired(view: StableView, member: NodeId) -> bool:
    """Whether this id, or a later one of the same node, has left."""
    return any(
        name_of(gone) == name_of(member) and incarnation_of(gone) >= incarnation_of(member)
        for gone in view.retired
    )


def _retire(view: StableView, members: Sequence[NodeId]) -> tuple[NodeId, ...]:
    """The latest ids that left, with these among them."""
    names = {name_of(member) for member in members}
    return (*(gone for gone in view.retired if name_of(gone) not in names), *members)


class RingChanges:
    """What the next ring should be; soft state, told anew by those concerned in each round.

    Args:
        wish_ns: how long a wish is remembered.
    """

    __slots__ = ("_handed", "_number", "_wish_ns", "_wishes")

    #: Wishes do not flap as sights of a group do.
    settled_rounds = 0

    def __init__(self, *, wish_ns: int) -> None:
        self._wish_ns = wish_ns
        #: member that shall leave -> until when that is remembered
        self._wishes: dict[NodeId, int] = {}
        #: the members that have what they gain by the change of this number
        self._number = 0
        self._handed: dict[NodeId, None] = {}

    # -- what is told ------------------------------------------------------------------------------

    def wish(self, now_ns: int, member: NodeId) -> bool:
        """A member shall leave; whether that is news."""
        news = member not in self._wishes
        self._wishes[member] = now_ns + self._wish_ns
        return news

    def forget(self, now_ns: int) -> None:
        """Wishes that are not repeated are over."""
        self._wishes = {node: until for node, until in self._wishes.items() if until > now_ns}

    def handed_over(self, ring: int, member: NodeId) -> bool:
        """A member has what it gains by a change; whether that is news."""
        if ring != self._number:
            self._number, self._handed = ring, {}
        news = member not in self._handed
        self._handed[member] = None
        return news

    # -- decisions ---------------------------------------------------------------------------------

    def names(self, view: StableView) -> NodeId:
        """Decision: who leads a view: its oldest member; "" if it has none.

        A dead member stays in a ring, and then the oldest that lives proposes in its place. Two
        that take themselves for it are harmless: the voters agree on one successor.
        """
        return view.voters[0] if view.voters else ""

    def voters(self, view: StableView, living: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Decision: of whom a majority must agree on the successor: the members before a change
        that is under way, and else the members."""
        return view.voters

    def is_handed_over(self, gainers: Collection[NodeId], have: Collection[NodeId]) -> bool:
        """Decision: whether a change is over, by who gains keys and who has them."""
        return all(node in have for node in gainers)

    def is_superseded(self, awaited: Collection[NodeId], living: Collection[NodeId]) -> bool:
        """Decision: whether a change is given up for those who gain keys and have them not yet:
        one of them is away, and shall leave itself."""
        return any(node in self._wishes and node not in living for node in awaited)

    def awaited(self, view: StableView) -> tuple[NodeId, ...]:
        """The members that gain keys by a change under way, and are not known to have them."""
        if not view.before:
            return ()
        have = self._handed if self._number == view.id else {}
        return tuple(node for node in Ring(view, replicas=1).gainers() if node not in have)

    def successor(self, view: StableView, living: Sequence[NodeId]) -> StableView:
        """Decision: the ring that should come next."""
        if view.before:
            return self._after_joint(view, living)
        leaving = self._leaving(view, living)
        if leaving:
            members = tuple(node for node in view.members if node not in leaving)
            return StableView(view.id + 1, members, view.members, view.retired)
        joining = self._joining(view, living)
        if joining:
            return StableView(view.id + 1, (*view.members, joining), view.members, view.retired)
        return view

    def _after_joint(self, view: StableView, living: Sequence[NodeId]) -> StableView:
        joined = [node for node in view.members if node not in view.before]
        if any(node in self._wishes for node in joined):
            return StableView(view.id + 1, view.before, (), _retire(view, joined))
        if any(node not in living for node in joined):
            return StableView(view.id + 1, view.before, (), view.retired)
        have = self._handed if self._number == view.id else {}
        if not self.is_handed_over(Ring(view, replicas=1).gainers(), have):
            superseded = self.is_superseded(self.awaited(view), living)
            return StableView(view.id + 1, view.before, (), view.retired) if superseded else view
        gone = [node for node in view.before if node not in view.members]
        return StableView(view.id + 1, view.members, (), _retire(view, gone))

    def _leaving(self, view: StableView, living: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Those who leave next, of the members that shall leave or whose node came back under
        another id: all that are away, or else the first."""
        later = {name_of(node): node for node in living if node not in view.members}
        due = [
            node
            for node in view.members
            if node in self._wishes
            or incarnation_of(later.get(name_of(node), node)) > incarnation_of(node)
        ]
        away = [node for node in due if node not in living]
        return tuple(away or due[:1])[: len(view.members) - 1]

    def _joining(self, view: StableView, living: Sequence[NodeId]) -> NodeId:
        """The first node that lives and is to be a member."""
        for node in living:
            if node in view.members or node in self._wishes or is_retired(view, node):
                continue
            return node
        return ""
