"""The fenced register: a resource that only the leader of the latest view can write to.

Problem. A leader that was stopped, or cut off, believes that it leads until it learns better. What
it does meanwhile must do no harm to what its successor has done.

Solution. Each act carries a token: the number of the leader's view, and the number of the act in
it. Every member keeps a copy of the register with its *fence*, the highest view it knows of, and
consents only to acts at or above it. An act has happened when a majority of the leader's view
consented. A member that accepts the next view raises its fence; a majority does before that view
exists, and any two majorities share a member: so an act of an older view cannot succeed any more.

Acts are numbered by the leader, durably, before anybody hears of them, so a leader that restarts
does not use a token again. An act whose outcome is not known when its time is up, or when a later
view comes, may have happened. A client that asks again may make it happen twice, under two tokens.

Invariants. An act is answered once. Tokens of acts that were answered ``ok`` are unique, and grow:
an act begun after another was answered has the greater token.

What breaks without it. A52b: members consent to any token. A52c: consent is not waited for.

Source: Kleppmann, "How to do distributed locking" (2016); Joshi, "Emergent Leader", "Generation
Clock". Owned by :mod:`cluster.gossip.node`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.consensus.majority_quorum import quorum_size
from cluster.core.answers import Answer
from cluster.ports import NodeId
from cluster.wire import Act, ActReply

#: Acts of one view, at most: the token is the view's number times this, plus the act's.
ACTS_PER_VIEW = 1 << 32


def token_of(view: int, number: int) -> int:
    """The fencing token of an act, as one number."""
    assert 0 < number < ACTS_PER_VIEW, f"act {number} of view {view} has no token"
    return view * ACTS_PER_VIEW + number


class Pending:
    """An act that waits for consent."""

    __slots__ = ("act", "consents", "members", "waiter")

    def __init__(self, act: Act, members: tuple[NodeId, ...], waiter: Waiter) -> None:
        self.act, self.members, self.waiter = act, members, waiter
        self.consents: set[NodeId] = set()


class FencedRegister:
    """One node's copy of the register, and the acts it makes as leader.

    Args:
        number: the highest number of an act of the fence's view here.
        value: what that act wrote.
    """

    __slots__ = ("_pending", "answers", "due_ns", "last", "number", "settled", "value", "view")

    def __init__(self, view: int, number: int, value: object) -> None:
        #: token of the latest act here, as (view, number), and its value
        self.view, self.number, self.value = view, number, value
        #: the last number that this node gave, as (view, number)
        self.last = (view, number)
        #: (token, who consented, the members) of the last act that was answered here
        self.settled: tuple[int, tuple[NodeId, ...], tuple[NodeId, ...]] | None = None
        #: (who, what) to be answered
        self.answers: list[tuple[Waiter, Answer]] = []
        self.due_ns = NEVER_NS
        self._pending: dict[int, Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    # -- decisions ---------------------------------------------------------------------------------

    def consents(self, view: int, fence: int) -> bool:
        """Decision: whether an act's token is not below what is known here."""
        return view >= fence

    def is_settled(self, consents: int, members: int) -> bool:
        """Decision: whether an act has happened, with so many consents of so many members."""
        return consents >= quorum_size(members)

    # -- a member ----------------------------------------------------------------------------------

    def take(self, act: Act, fence: int) -> tuple[ActReply, bool]:
        """An act arrived: the answer, and whether there is something to be made durable."""
        accepted = self.consents(act.view, fence)
        news = accepted and (act.view, act.number) > (self.view, self.number)
        if news:
            self.view, self.number, self.value = act.view, act.number, act.value
        return ActReply(act.view, act.number, accepted), news

    # -- the leader --------------------------------------------------------------------------------

    def begin(self, view: int, members: tuple[NodeId, ...], value: Any, waiter: Waiter) -> Act:
        """A client asks the leader of a view to act."""
        used = max((self.view, self.number), self.last)
        number = used[1] + 1 if used[0] == view else 1
        self.last = (view, number)
        act = Act(view, number, value)
        self._pending[number] = Pending(act, members, waiter)
        self.due_ns = min(self.due_ns, waiter.deadline_ns)
        return act

    def consented(self, source: NodeId, reply: ActReply) -> None:
        """A member answered."""
        pending = self._pending.get(reply.number)
        if pending is None or pending.act.view != reply.view:
            return
        if reply.accepted and source in pending.members:
            pending.consents.add(source)
            self.settle(pending)

    def settle(self, pending: Pending) -> None:
        """Answer an act if it has happened."""
        if not self.is_settled(len(pending.consents), len(pending.members)):
            return
        act = pending.act
        token = token_of(act.view, act.number)
        self.settled = (token, tuple(sorted(pending.consents)), pending.members)
        told = {"token": token, "view": act.view, "leader": "", "value": act.value}
        self.answers.append((pending.waiter, ("ok", told, "")))
        del self._pending[act.number]

    def silent(self) -> list[tuple[Act, list[NodeId]]]:
        """The acts that wait, each with the members that have not consented."""
        return [
            (each.act, [node for node in each.members if node not in each.consents])
            for each in self._pending.values()
        ]

    def give_up(self, now_ns: int, view: int) -> None:
        """End the acts whose time is up, or whose view is not the present one: unknown."""
        for number, pending in list(self._pending.items()):
            late = pending.waiter.deadline_ns <= now_ns
            if late or pending.act.view != view:
                why = "no majority has consented" if late else f"view {view} came meanwhile"
                self.answers.append((pending.waiter, ("unknown", None, why)))
                del self._pending[number]
        deadlines = [each.waiter.deadline_ns for each in self._pending.values()]
        self.due_ns = min(deadlines, default=NEVER_NS)

    def disconnect(self, connection: int) -> None:
        """Forget the acts of a connection that is gone; they may happen all the same."""
        for number, pending in list(self._pending.items()):
            if pending.waiter.connection == connection:
                del self._pending[number]


def unanswered(pending: Sequence[tuple[Act, list[NodeId]]]) -> list[tuple[NodeId, Act]]:
    """Whom to ask again, for what."""
    return [(node, act) for act, nodes in pending for node in nodes]
