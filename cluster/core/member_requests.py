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

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.consensus.interface import Consensus
from cluster.consensus.leader_and_followers import LEADER
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
from cluster.core.client_answers import ClientAnswers
from cluster.core.pending_requests import PendingRequests
from cluster.core.replicated_state import ReplicatedState
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


def describe_members(configuration: Configuration, *, node: str, leader: str) -> Answer:
    """The answer to ``members``, and to a change that is done."""
    return ok(
        {
            "voters": list(configuration.voters),
            "learners": list(configuration.learners),
            "outgoing": list(configuration.outgoing),
            "retired": list(configuration.retired),
            "addresses": dict(configuration.addresses),
            "leader": leader,
            "node": node,
        }
    )


class PendingChange(msgspec.Struct, frozen=True):
    """A change, or a transfer (``change`` is None), and the client that waits for it."""

    waiter: Waiter
    change: Change | None
    to: str = ""


class MemberRequests:
    """Begins changes of members and of leadership, and keeps the clients that wait for them.

    Args:
        node: this node.
        consensus: makes the changes.
        state: knows the applied index.
        answers: where answers go.
        pending: all requests that wait at this node.
    """

    __slots__ = ("_answers", "_consensus", "_node", "_pending", "_state", "_waiting", "deadline_ns")

    def __init__(
        self,
        node: NodeId,
        *,
        consensus: Consensus,
        state: ReplicatedState,
        answers: ClientAnswers,
        pending: PendingRequests,
    ) -> None:
        self._node, self._consensus, self._state = node, consensus, state
        self._answers, self._pending = answers, pending
        self._waiting: list[PendingChange] = []
        self.deadline_ns = NEVER_NS

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, now_ns: int, waiter: Waiter, command: Command) -> None:
        """A well-formed request for a change, or for another leader, arrived."""
        consensus = self._consensus
        if command.op == TRANSFER and command.key and command.key == consensus.leader:
            self._answers.give(waiter, ok(command.key))
        elif consensus.role != LEADER:
            self._answers.redirect(waiter)
        elif self._pending.admit(waiter):
            refused = self._begin(now_ns, waiter, command)
            if refused is not None:
                self._answers.give(waiter, refused)
            elif consensus.membership.index <= self._state.applied:
                self.configured(consensus.membership.current)

    def _begin(self, now_ns: int, waiter: Waiter, command: Command) -> Answer | None:
        """Begin what a command asks of a leader; a refusal, or None if the client waits now."""
        if command.op == TRANSFER:
            return self._begin_transfer(now_ns, waiter, command.key)
        change = change_of(command)
        refusal = self._consensus.change_members(now_ns, change)
        if refusal is not None:
            return refusal.status, None, refusal.why
        self._add(PendingChange(waiter, change))
        return None

    def _begin_transfer(self, now_ns: int, waiter: Waiter, to: NodeId) -> Answer | None:
        voters = self._consensus.membership.current.voters
        to = to or self._consensus.best_successor()
        if to not in voters:
            wrong = f"{to} is no voter that could lead" if to else "no other voter is heard"
            return fail(f"{wrong}; the voters are {', '.join(voters)}")
        if not self._consensus.transfer_leadership(now_ns, to):
            return "retry", None, "leadership is being handed over already"
        self._add(PendingChange(waiter, None, to))
        return None

    def configured(self, configuration: Configuration) -> None:
        """A configuration is applied: answer the clients whose change is done by it."""
        if configuration.joint:
            return
        done = [p for p in self._waiting if p.change and is_so(configuration, p.change)]
        leader = self._consensus.leader
        for waiter in self._take(done):
            members = describe_members(configuration, node=self._node, leader=leader)
            self._answers.give(waiter, members)

    def abandon(self, why: str) -> None:
        """Leadership is lost: the outcome of every change is unknown."""
        self._answers.give_all(self._take([p for p in self._waiting if p.change]), "unknown", why)

    def finish_transfers(self) -> None:
        """Answer the clients that asked for another leader, once there is one, or it failed."""
        if not self._waiting:
            return
        asked = [p for p in self._waiting if p.change is None]
        leader = self._consensus.leader
        if not asked or not leader or self._consensus.handing_over:
            return
        self._take(asked)
        for p in asked:
            late = f"{p.to} did not take over in time; {leader} leads"
            self._answers.give(p.waiter, ok(p.to) if p.to == leader else fail(late))

    def expire(self, now_ns: int) -> None:
        """Answer the clients whose time is up; the outcome of each is unknown."""
        if now_ns >= self.deadline_ns:
            late = self._take([p for p in self._waiting if p.waiter.deadline_ns <= now_ns])
            self._answers.give_all(late, "unknown", "the change is not committed yet: timed out")

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
