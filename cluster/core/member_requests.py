"""Requests about the cluster itself: its members, and who leads.

    members                      who votes, who learns, who is leaving
    add-learner MEMBER [ADDRESS] a new node receives the log; it does not count
    promote MEMBER               a learner that has caught up counts from now on
    remove-member MEMBER         a voter or learner leaves; its id never comes back
    transfer [MEMBER]            another voter leads; the best one if none is named

They are requests like any other, answered by the leader, but they are no commands of the state
machine: no number, no place in a session. What makes a repeated copy harmless is that each says how
things shall *be*: asked again, a change that is under way or done is not made twice.

An answer ``ok`` to a change says that a configuration in which it is so, and which is not joint, is
certain; ``unknown`` that this node lost leadership or patience first. ``members`` is answered with
the newest certain configuration too, not with the one in force: a leader counts by a configuration
from the moment it is in its log, but who wipes a node because that one no longer has it takes away
a copy, perhaps the only one, of the very entry that lets the others do without. A transfer is
``ok`` once the new leader has been heard.

Used by ``cluster.core.replica``; the client session knows the names.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.consensus.membership import Configuration
from cluster.consensus.membership_change import (
    ADD_LEARNER,
    PROMOTE,
    REMOVE,
    Change,
    is_so,
    member_problem,
)
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
    return f"{op} takes a member{' and an address' * (op == ADD_LEARNER)}" if args else ""


def change_of(command: Command) -> Change:
    """The change a command asks for."""
    return Change(command.op, command.key, str(command.args[0]) if command.args else "")


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
    """A change, or a transfer (``change`` is None), that somebody waits for."""

    waiter: Waiter
    change: Change | None
    to: str = ""


class MemberRequests:
    """Who waits for a change of members or of leadership."""

    __slots__ = ("_waiting", "deadline_ns")

    def __init__(self) -> None:
        self._waiting: list[PendingChange] = []
        self.deadline_ns = NEVER_NS

    def __len__(self) -> int:
        return len(self._waiting)

    def wait_for_change(self, waiter: Waiter, change: Change) -> None:
        """Answer this one when the change is certain."""
        self._add(PendingChange(waiter, change))

    def wait_for_leader(self, waiter: Waiter, to: str) -> None:
        """Answer this one when somebody else leads."""
        self._add(PendingChange(waiter, None, to))

    def certain(self, configuration: Configuration) -> list[Waiter]:
        """A configuration became certain: take those whose change is done by it."""
        if configuration.joint:
            return []
        done = [p for p in self._waiting if p.change and is_so(configuration, p.change)]
        return self._take(done)

    def abandon_changes(self) -> list[Waiter]:
        """Leadership is lost: take those who wait for changes; they must be answered unknown."""
        return self._take([p for p in self._waiting if p.change])

    def take_transfers(self) -> list[PendingChange]:
        """Take those who wait for another leader."""
        taken = [p for p in self._waiting if p.change is None]
        self._take(taken)
        return taken

    @property
    def transfers(self) -> bool:
        """Whether somebody waits for another leader."""
        return any(p.change is None for p in self._waiting)

    def expire(self, now_ns: int) -> list[Waiter]:
        """Take those whose patience has ended; they must be answered unknown."""
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
