"""Requests about the members of role ``leaderless``, and the clients that wait for them.

    members                 who is in the ring, who leaves it, which ids left
    join SEED [MEMBER]      MEMBER asks SEED for its view, and joins; any other node names MEMBER.
                            Without MEMBER it is the node asked, whichever the session reaches
    remove-member MEMBER    that member leaves, dead or alive; any member may be asked

A change is ``ok`` once a settled ring says so, and ``unknown`` if the time is up before; if it
waits for members that are away, the answer names them. To have one of those leave as well ends the
wait. Asked again, a change is not made twice. The answers have the fields of role ``core``, and
``awaited``: the members that a change waits for. The leader makes the changes
(:mod:`cluster.leaderless.ring_changes`); used by :mod:`cluster.leaderless.ring_member`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.consensus.membership_change import REMOVE, member_problem
from cluster.core.answers import Answer, ok
from cluster.core.member_requests import MEMBERS
from cluster.gossip.requests import JOIN
from cluster.ports import NodeId
from cluster.wire import Command, StableView

#: All of them.
RING_OPS = frozenset({MEMBERS, JOIN, REMOVE})


def ring_problem(command: Command) -> str:
    """Why such a request can never be carried out; "" if it may be."""
    op, key, args = command.op, command.key, command.args
    if op == JOIN:
        if len(args) > 1 or not all(type(each) is str for each in args):
            return "join takes the member to be asked, and the one that joins"
        return member_problem(key) or (member_problem(args[0]) if args else "")
    if args:
        return f"{op} takes no arguments beside a member, and was given {len(args)}"
    if op == MEMBERS:
        return f"{op} takes no member, and was given {key!r}" if key else ""
    return member_problem(key)


def describe(
    view: StableView, *, node: NodeId, leader: NodeId, awaited: Sequence[NodeId] = ()
) -> dict[str, Any]:
    """The answer to a request about the members.

    Args:
        view: the ring.
        node: who answers.
        leader: who changes the ring, as that node sees it.
        awaited: the members that a change waits for.
    """
    return {
        "voters": list(view.members),
        "learners": [],
        "outgoing": list(view.before),
        "awaited": list(awaited),
        "retired": list(view.retired),
        "addresses": {},
        "ring": view.id,
        "leader": leader,
        "node": node,
    }


class Waiting(msgspec.Struct, frozen=True):
    """A client that waits for a change.

    Args:
        waiter: who, and until when.
        op: what it wants.
        member: of whom.
        seed: whom to ask, of one that joins.
    """

    waiter: Waiter
    op: str
    member: NodeId
    seed: NodeId = ""

    def is_so(self, view: StableView) -> bool:
        """Whether a ring is as the client wants it."""
        if view.before or not view.members:
            return False
        return (self.member in view.members) == (self.op == JOIN)


def _why(away: Sequence[NodeId]) -> str:
    """Why a change waits, and what an operator can do, as the end of a sentence."""
    if not away:
        return ""
    many = len(away) > 1
    return (
        f": it waits for keys to come to {', '.join(away)}, which {'are' if many else 'is'} away; "
        f"start {'them' if many else 'it'} again, or have {'them' if many else 'it'} leave too"
    )


class RingRequests:
    """The clients that wait for changes of the members."""

    __slots__ = ("_waiting", "answers")

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        #: to be answered
        self.answers: list[tuple[Waiter, Answer]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due_ns(self) -> int:
        """When the first of them must be answered."""
        return min((each.waiter.deadline_ns for each in self._waiting), default=NEVER_NS)

    def add(self, waiting: Waiting) -> None:
        """A client waits."""
        self._waiting.append(waiting)

    def leaving(self) -> list[NodeId]:
        """The members that clients want to leave."""
        return [each.member for each in self._waiting if each.op != JOIN]

    def seeds(self) -> list[NodeId]:
        """The members that this node is to be let in by."""
        return [each.seed for each in self._waiting if each.op == JOIN]

    def look(
        self, now_ns: int, view: StableView, told: Callable[[], Any], away: Sequence[NodeId] = ()
    ) -> None:
        """Answer those who have what they want, and those whose time is up.

        Args:
            now_ns: the time.
            view: the ring in force.
            told: what is told of it.
            away: the members that a change waits for, and that are away.
        """
        left: list[Waiting] = []
        for each in self._waiting:
            if each.is_so(view):
                self.answers.append((each.waiter, ok(told())))
            elif each.waiter.deadline_ns <= now_ns:
                said = f"the ring {view.id} does not have it so yet{_why(away)}"
                self.answers.append((each.waiter, ("unknown", None, said)))
            else:
                left.append(each)
        self._waiting = left

    def disconnect(self, connection: int) -> None:
        """Forget the clients of a connection that is gone."""
        kept = [each for each in self._waiting if each.waiter.connection != connection]
        self._waiting = kept
