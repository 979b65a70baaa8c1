"""A node of role ``paxos``: registers by key, without a log and without a leader.

It implements :class:`cluster.ports.Core`, as the replica of the Consistent Core does, and answers
the same requests with the same statuses. Any node may be asked, so no client is redirected:

    client --> requests of the key --> proposer ==prepare, accept==> acceptors of a majority
                     ^                     |
    client <---------+--- register state <-+ newest value, changed

The way of a request: it waits for the node's attempt at its key; with the promises of a majority it
is applied to the newest value; it is answered once the new value is chosen. The node is acceptor
and proposer at once: what it asks of all acceptors, it asks of its own, whose answers count when
they are durable, like all others.

Every read goes through a majority. A read mode that trusts one node's copy (``stale``, ``lease``)
is refused, since an acceptor does not know whether what it accepted is chosen. The members are
those of the founding; requests about them are refused.

Invariants. What this node tells others, itself included, is durable first. A ballot leaves the node
only when its round is reserved durably.

Source: Rystsov, "CASPaxos" (2018). The algorithm: :mod:`cluster.consensus.paxos`. Attributes
without underscore may be read for invariants, never written.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.config import ClusterConfig
from cluster.core.acceptors import Acceptors
from cluster.core.answers import Answer, fail
from cluster.core.member_requests import MEMBER_OPS
from cluster.core.register_proposers import PaxosParts, Proposers
from cluster.core.register_requests import Asked
from cluster.core.register_state import READS, register_problem
from cluster.ports import Effect, NodeId, Recovered, Reply, Rng, Send, SetTimer
from cluster.wire import (
    HardState,
    Message,
    RegisterAccept,
    RegisterAccepted,
    RegisterPrepare,
    RegisterPromise,
    RegisterRefused,
    Request,
    Response,
)

#: What such a node is, in its status.
PEER = "peer"
READ_MODES = ("linearizable", "follower")
#: A client that says it knows of a round this far ahead is not believed.
ROUNDS_AHEAD_MAX = 1 << 40

_encode = msgspec.msgpack.Encoder().encode


class PaxosRegisters:
    """A node of role ``paxos``.

    Args:
        node_id: this node.
        members: the nodes the cluster was founded with.
        rng: randomness for the waits between attempts.
        config: timings and limits.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        node_id: NodeId,
        members: Sequence[NodeId],
        *,
        rng: Rng,
        config: ClusterConfig | None = None,
        parts: PaxosParts = PaxosParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node_id
        self.members = tuple(sorted(members))
        self.config = config if config is not None else ClusterConfig()
        self._parts = parts
        self._rng = rng
        self._reset(Recovered(HardState(), None, []))

    def _reset(self, recovered: Recovered) -> None:
        self.acceptors = Acceptors(
            recovered,
            self.members,
            snapshot_records=self.config.snapshot_entries,
            make=self._parts.acceptor,
        )
        self.clock = self._parts.clock(self.node, recovered.hard_state.generation)
        self.clock.observe(self.acceptors.highest_round)
        self.proposers = Proposers(
            self.members, clock=self.clock, config=self.config, rng=self._rng, parts=self._parts
        )
        self._durable = 0
        #: messages of this node to itself: those that wait for a write, and those to be taken now
        self._own: list[tuple[int, Message]] = []
        self._inbox: deque[tuple[NodeId, Message]] = deque()
        self._timer_ns = 0
        self._out: list[Effect] = []

    # -- what others may look at -------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """JSON-ready state; there is no leader, and no index is applied or committed."""
        return {
            "node": self.node,
            "role": PEER,
            "leader": "",
            "generation": self.clock.round,
            "high_water_mark": 0,
            "applied": 0,
            "first_index": self.acceptors.snapshot_index + 1,
            "last_index": self.acceptors.last_index,
            "snapshot_index": self.acceptors.snapshot_index,
            "members": list(self.members),
            "learners": [],
            "outgoing": [],
            "configuration_index": 0,
            "consensus": "paxos",
            "pending": self.proposers.pending,
            "keys": self.acceptors.accepted_count,
            "attempts": self.proposers.attempts,
            "refused_attempts": self.proposers.refused_attempts,
        }

    def state_hash(self) -> str:
        """Hex digest of what this node's acceptors hold; nodes differ until each took part."""
        rows = [(row.key, row.accepted, row.value) for row in self.acceptors.rows()]
        return hashlib.blake2b(_encode(rows), digest_size=16).hexdigest()

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        """Begin, or begin again after a crash, from what is durable."""
        self._reset(recovered)
        return self._settle(now_ns)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> list[Effect]:
        """A peer's message arrived."""
        if source in self.members:
            self._inbox.append((source, message))
        return self._settle(now_ns)

    def on_tick(self, now_ns: int) -> list[Effect]:
        """The time asked for by the last SetTimer has come."""
        self.proposers.tick(now_ns)
        return self._settle(now_ns)

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        """Every write up to and including ``io_id`` is durable."""
        assert io_id >= self._durable, f"write {io_id} is durable after {self._durable}"
        self._durable = io_id
        own, self._own = self._own, []
        for after, message in own:
            self._send(self.node, message, after)
        return self._settle(now_ns)

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's request arrived on a connection."""
        waiter = Waiter(connection, request.id, now_ns + max(0, request.timeout_ns))
        refused = self._refusal(request)
        if refused is not None:
            self._answer(waiter, refused)
        else:
            self.proposers.take(now_ns, Asked(waiter, request))
        return self._settle(now_ns)

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        self.proposers.disconnect(connection)
        return self._settle(now_ns)

    # -- requests ----------------------------------------------------------------------------------

    def _refusal(self, request: Request) -> Answer | None:
        """Why a request is not taken; None if it is."""
        command = request.command
        if command.op in MEMBER_OPS:
            return fail(f"{command.op}: the members of role paxos stay those of its founding")
        wrong = register_problem(command)
        if wrong:
            return fail(wrong)
        if command.op in READS:
            if request.mode not in READ_MODES:
                modes = " or ".join(READ_MODES)
                return fail(f"role paxos has no read mode {request.mode!r}: {modes}")
        elif request.seq < 1 or not request.session:
            return fail("a command that writes needs a session and a seq >= 1")
        if request.opened_after > self.clock.round + ROUNDS_AHEAD_MAX:
            return fail(f"opened_after is {request.opened_after}, and no ballot has that round")
        pending = self.proposers.pending
        if pending >= self.config.pending_max:
            return ("retry", None, f"{pending} requests are waiting already")
        return None

    # -- messages ----------------------------------------------------------------------------------

    def _step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """One message, of a peer or of this node; those of other roles are dropped."""
        match message:
            case RegisterPrepare():
                self._prepare(now_ns, source, message)
            case RegisterPromise():
                self.proposers.promised(now_ns, source, message)
            case RegisterAccept():
                self._accept(now_ns, source, message)
            case RegisterAccepted():
                self.proposers.accepted(now_ns, source, message)
            case RegisterRefused():
                self.proposers.refused(now_ns, source, message)

    def _prepare(self, now_ns: int, source: NodeId, message: RegisterPrepare) -> None:
        self.clock.observe(message.ballot.round)
        if source != self.node:
            self.proposers.other_prepares(now_ns, message.key)
        self._answer_proposer(source, *self.acceptors.prepare(message))

    def _accept(self, now_ns: int, source: NodeId, message: RegisterAccept) -> None:
        self.clock.observe(message.ballot.round)
        if source != self.node:
            self.proposers.other_proposes(now_ns, message.key)
        self._answer_proposer(source, *self.acceptors.accept(message))

    def _answer_proposer(self, source: NodeId, answer: Message, after: int) -> None:
        self._out.extend(self.acceptors.take_writes())
        self._send(source, answer, after)

    def _ask_acceptors(self) -> None:
        """Send what the proposers ask; a ballot only once its round is reserved durably."""
        messages, self.proposers.messages = self.proposers.messages, []
        for to, message in messages:
            after = 0
            if isinstance(message, RegisterPrepare):
                if self.clock.must_reserve():
                    self.acceptors.reserve(self.clock.reserve())
                    self._out.extend(self.acceptors.take_writes())
                after = self.acceptors.reservation
            self._send(to, message, after)

    def _send(self, to: NodeId, message: Message, after: int) -> None:
        """Send, once a write is durable; what this node says to itself waits here."""
        if to != self.node:
            self._out.append(Send(to, message, after))
        elif after <= self._durable:
            self._inbox.append((to, message))
        else:
            self._own.append((after, message))

    # -- what follows from an input ----------------------------------------------------------------

    def _answer(self, waiter: Waiter, answer: Answer, round: int = 0) -> None:
        """Answer a client; the revision is a round, the newest known unless another is given."""
        status, value, error = answer
        revision = round or self.clock.round
        response = Response(waiter.request, status, value, revision, "", error)
        self._out.append(Reply(waiter.connection, response))

    def _settle(self, now_ns: int) -> list[Effect]:
        """Take what this node said to itself; all effects, and a timer if one is needed."""
        self._ask_acceptors()
        while self._inbox:
            self._step(now_ns, *self._inbox.popleft())
            self._ask_acceptors()
        answers, self.proposers.answers = self.proposers.answers, []
        for waiter, answer, round in answers:
            self._answer(waiter, answer, round)
        due_ns = self.proposers.due_ns
        if due_ns < NEVER_NS and not now_ns < self._timer_ns <= due_ns:
            self._timer_ns = due_ns
            self._out.append(SetTimer(due_ns))
        effects, self._out = self._out, []
        return effects


__all__ = ["PaxosParts", "PaxosRegisters"]
