"""Requests about the cluster itself: its members, and who leads.

    members                      who votes, who learns, who is leaving
    add-learner MEMBER [ADDRESS] a new node receives the log; it does not count
    promote MEMBER [VOTER]       a learner that has caught up counts from now on; in place of a
                                 voter, which leaves in the same step
    remove-member MEMBER         a voter or learner leaves; its id never comes back
    transfer [MEMBER]            another voter leads; the best one if none is named

They are requests like any other, answered by the leader, but they are no commands of the state
machine: no number, no place in a session. A repeated copy is harmless because each request says how
things shall *be*: asked again, a change that is under way or done is not made twice.

The answer ``ok`` to a change says that a configuration in which it is so, and which is not joint,
is committed. ``unknown`` says that this node lost leadership, or that the time was up, first.
``members`` is answered with the newest committed configuration, not with the one in force. A leader
counts by a configuration from the moment it is in its log; an operator who wipes a node because
that one no longer names it takes away a copy, perhaps the only one, of the very entry that lets the
others do without the node. A transfer is ``ok`` once the new leader has been heard.

Used by ``cluster.core.replica``; the client session knows the names.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.consensus.interface import Consensus
from cluster.consensus.membership import Configuration
from cluster.consensus.membership_change import (
    ADD_LEARNER,
    PROMOTE,
    REMOVE,
    Change,
    is_so,
    member_problem,
)
from cluster.core.answers import Answer, fail, ok
from cluster.ports import NodeId
from cluster.wire import Command

MEMBERS = "members"
TRANSFER = "transfer"
CHANGES = frozenset({ADD_LEARNER, PROMOTE, REMOVE})
#: Every operation of this module.
MEMBER_OPS = CHANGES | {MEMBERS, TRANSFER}


def member_request_problem(command: Command) -> str:
    """Why such a request can never be carried out; "" if it may be."""
    op, args = command.op, command.args
    if op == MEMBERS or (op == TRANSFER and command.key == ""):
        return f"{op} takes no arguments, and was given {len(args)}" if args else ""
    wrong = member_problem(command.key)
    if wrong:
        return wrong
    if op == ADD_LEARNER and len(args) == 1 and type(args[0]) is str:
        host, colon, port = args[0].rpartition(":")
        if not args[0] or (host and colon and port.isdecimal() and int(port) <= 65535):
            return ""
        return f"the address {args[0]!r} is not HOST:PORT"
    if op == PROMOTE and len(args) == 1:
        return member_problem(args[0]) if args[0] else ""
    return f"{op} takes a member{' and an address' * (op == ADD_LEARNER)}" if args else ""


def change_of(command: Command) -> Change:
    """The change a command asks for."""
    said = str(command.args[0]) if command.args else ""
    if command.op == PROMOTE:
        return Change(command.op, command.key, instead_of=said)
    return Change(command.op, command.key, said)


def describe(configuration: Configuration, *, node: str, leader: str) -> dict[str, Any]:
    """The answer to ``members``, and to a change that is done."""
    return {
        "voters": list(configuration.voters),
        "learners": list(configuration.learners),
        "outgoing": list(configuration.outgoing),
        "retired": list(configuration.retired),
        "addresses": dict(configuration.addresses),
        "leader": leader,
        "node": node,
    }


class PendingChange(msgspec.Struct, frozen=True):
    """A change, or a transfer (``change`` is None), and the client that waits for it."""

    waiter: Waiter
    change: Change | None
    to: str = ""


class MemberRequests:
    """Begins changes of members and of leadership, and keeps the clients that wait for them."""

    __slots__ = ("_waiting", "deadline_ns")

    def __init__(self) -> None:
        self._waiting: list[PendingChange] = []
        self.deadline_ns = NEVER_NS

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(
        self, now_ns: int, waiter: Waiter, command: Command, consensus: Consensus
    ) -> Answer | None:
        """Begin what a well-formed command asks of a leader.

        Returns:
            A refusal; None if the waiter is kept, to be answered later.
        """
        if command.op == TRANSFER:
            return self._begin_transfer(now_ns, waiter, command.key, consensus)
        change = change_of(command)
        refusal = consensus.change_members(now_ns, change)
        if refusal is not None:
            return refusal.status, None, refusal.why
        self._add(PendingChange(waiter, change))
        return None

    def _begin_transfer(
        self, now_ns: int, waiter: Waiter, to: NodeId, consensus: Consensus
    ) -> Answer | None:
        to = to or consensus.best_successor()
        voters = consensus.membership.current.voters
        if to not in voters:
            told = f"{to or 'no node'} is no voter that could lead; the voters are "
            return fail(told + ", ".join(voters))
        if not consensus.transfer_leadership(now_ns, to):
            return "retry", None, "leadership is being handed over already"
        self._add(PendingChange(waiter, None, to))
        return None

    def committed(self, configuration: Configuration) -> list[Waiter]:
        """A configuration is committed: take the waiters whose change is done by it."""
        if configuration.joint:
            return []
        done = [p for p in self._waiting if p.change and is_so(configuration, p.change)]
        return self._take(done)

    def abandon_changes(self) -> list[Waiter]:
        """Leadership is lost: take the waiters of changes; the outcome of each is unknown."""
        return self._take([p for p in self._waiting if p.change])

    def take_transfers(self, leader: NodeId) -> list[tuple[Waiter, Answer]]:
        """A leader is known, and no transfer is under way: take the waiters of transfers, and what
        to answer them."""
        taken = [p for p in self._waiting if p.change is None]
        self._take(taken)
        return [
            (p.waiter, ok(p.to))
            if p.to == leader
            else (p.waiter, fail(f"{p.to} did not take over in time; {leader} leads"))
            for p in taken
        ]

    @property
    def transfers(self) -> bool:
        """Whether a client waits for another leader."""
        return any(p.change is None for p in self._waiting)

    def expire(self, now_ns: int) -> list[Waiter]:
        """Take the waiters whose time is up; the outcome of each is unknown."""
        if now_ns < self.deadline_ns:
            return []
        return self._take([p for p in self._waiting if p.waiter.deadline_ns <= now_ns])

    def disconnect(self, connection: int) -> None:
        """Forget the waiters of a connection that is gone."""
        self._take([p for p in self._waiting if p.waiter.connection == connection])

    def _add(self, pending: PendingChange) -> None:
        self._waiting.append(pending)
        self.deadline_ns = min(self.deadline_ns, pending.waiter.deadline_ns)

    def _take(self, taken: list[PendingChange]) -> list[Waiter]:
        if taken:
            self._waiting = [p for p in self._waiting if p not in taken]
        deadlines = (p.waiter.deadline_ns for p in self._waiting)
        self.deadline_ns = min(deadlines, default=NEVER_NS)
        return [p.waiter for p in taken]
