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

Invariants. Each request is answered once, or its connection is gone. A register has one attempt of
this node at a time. A ballot leaves the node only when its round is reserved durably.

Source: Rystsov, "CASPaxos" (2018). The algorithm: :mod:`cluster.consensus.paxos`. Attributes
without underscore may be read for invariants, never written.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.config import ClusterConfig
from cluster.consensus.paxos import Acceptor, Attempt, BallotClock, Pace, Proposer
from cluster.core.acceptors import Acceptors
from cluster.core.member_requests import MEMBER_OPS
from cluster.core.register_requests import Asked, RegisterRequests
from cluster.core.register_state import RegisterState
from cluster.core.state_machine import Answer, KeyValue, fail, problem
from cluster.log.storage import Storage
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


class PaxosParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes of a node of role ``paxos``, and of the storage its host gives it."""

    clock: type[BallotClock] = BallotClock
    acceptor: type[Acceptor] = Acceptor
    attempt: type[Attempt] = Attempt
    requests: type[RegisterRequests] = RegisterRequests
    machine: type[KeyValue] = KeyValue
    receiver: type[IdempotentReceiver] = IdempotentReceiver
    storage: type[Storage] = Storage


class Register:
    """What a node does for one register at the moment; forgotten when it has nothing to do."""

    __slots__ = ("proposer", "requests")

    def __init__(self, proposer: Proposer, requests: RegisterRequests) -> None:
        self.proposer = proposer
        self.requests = requests


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
        self.pace = Pace(self.config.ballot_backoff_min_ns)
        #: until when another node's attempt at a register is taken to be under way
        self._busy_until_ns: dict[str, int] = {}
        #: registers with requests, by key
        self.registers: dict[str, Register] = {}
        self.pending = 0
        self.attempts = self.refused_attempts = 0
        self._durable = 0
        #: messages of this node to itself: those that wait for a write, and those to be taken now
        self._own: list[tuple[int, Message]] = []
        self._inbox: deque[tuple[NodeId, Message]] = deque()
        #: not later than the first time at which something is due
        self._due_ns = NEVER_NS
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
            "pending": self.pending,
            "keys": self.acceptors.accepted_count,
            "attempts": self.attempts,
            "refused_attempts": self.refused_attempts,
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
        if now_ns >= self._due_ns:
            self._expire(now_ns)
            for key, register in list(self.registers.items()):
                if register.proposer.deadline_ns <= now_ns:
                    self._go_on(now_ns, key, register)
            self._find_due()
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
            self._take(now_ns, Asked(waiter, request))
        return self._settle(now_ns)

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        for register in self.registers.values():
            gone = register.requests.remove(lambda asked: asked.waiter.connection == connection)
            self.pending -= len(gone)
        return self._settle(now_ns)

    # -- requests ----------------------------------------------------------------------------------

    def _refusal(self, request: Request) -> Answer | None:
        """Why a request is not taken; None if it is."""
        command = request.command
        if command.op in MEMBER_OPS:
            return fail(f"{command.op}: the members of role paxos stay those of its founding")
        wrong = problem(command)
        if wrong:
            return fail(wrong)
        if command.op in ("get", "stat"):
            if request.mode not in READ_MODES:
                modes = " or ".join(READ_MODES)
                return fail(f"role paxos has no read mode {request.mode!r}: {modes}")
        elif request.seq < 1 or not request.session:
            return fail("a command that writes needs a session and a seq >= 1")
        if request.opened_after > self.clock.round + ROUNDS_AHEAD_MAX:
            return fail(f"opened_after is {request.opened_after}, and no ballot has that round")
        if self.pending >= self.config.pending_max:
            return ("retry", None, f"{self.pending} requests are waiting already")
        return None

    def _take(self, now_ns: int, asked: Asked) -> None:
        key = asked.request.command.key
        register = self.registers.get(key)
        if register is None:
            proposer = Proposer(self.config, self._rng, self.pace, self._parts.attempt)
            register = self.registers[key] = Register(proposer, self._parts.requests())
        self.clock.observe(asked.request.opened_after)
        register.requests.waiting.append(asked)
        self.pending += 1
        self._due_ns = min(self._due_ns, asked.waiter.deadline_ns)
        if register.proposer.idle:
            self._begin(now_ns, key, register)

    def _expire(self, now_ns: int) -> None:
        """Answer those whose time is up, as far as it is known what became of them."""
        for register in self.registers.values():
            late = register.requests.remove(lambda asked: asked.waiter.deadline_ns <= now_ns)
            self.pending -= len(late)
            for asked in late:
                status = "unknown" if asked.proposed else "retry"
                error = f"timed out after {register.proposer.failures} refused attempts"
                self._answer(asked.waiter, (status, None, f"no majority has answered: {error}"))

    def _find_due(self) -> None:
        self._due_ns = NEVER_NS
        for register in self.registers.values():
            due_ns = min(register.proposer.deadline_ns, register.requests.deadline_ns)
            self._due_ns = min(self._due_ns, due_ns)

    # -- the proposer's side -----------------------------------------------------------------------

    def _begin(self, now_ns: int, key: str, register: Register) -> None:
        """A new attempt, with a ballot whose round is reserved, unless another's is under way."""
        if register.proposer.yields(now_ns, self._busy_until_ns.get(key, 0)):
            self._due_ns = min(self._due_ns, register.proposer.deadline_ns)
            return
        ballot = self.clock.next()
        if self.clock.must_reserve():
            self.acceptors.reserve(self.clock.reserve())
            self._out.extend(self.acceptors.take_writes())
        register.requests.begin()
        prepare = register.proposer.begin(now_ns, key, ballot, self.members)
        self.attempts += 1
        self._due_ns = min(self._due_ns, register.proposer.deadline_ns)
        self._broadcast(prepare, after=self.acceptors.reservation)

    def _go_on(self, now_ns: int, key: str, register: Register) -> None:
        """Acceptors are silent, or the wait after a refused attempt is over."""
        attempt = register.proposer.attempt
        if not register.requests:
            del self.registers[key]
        elif attempt is None:
            self._begin(now_ns, key, register)
        else:
            again = attempt.ask_again()
            if again is None:
                self._give_way(now_ns, register)
                return
            message, silent = again
            after = self.acceptors.reservation if attempt.base is None else 0
            for member in silent:
                self._send(member, message, after)
            register.proposer.wait_for_answers(now_ns)

    def _give_way(self, now_ns: int, register: Register) -> None:
        """The attempt was refused: its requests wait for the next."""
        register.requests.put_back()
        register.proposer.give_way(now_ns)
        self.refused_attempts += 1
        self._due_ns = min(self._due_ns, register.proposer.deadline_ns)

    def _attempt_of(self, key: str) -> tuple[Register, Attempt] | None:
        """The attempt under way at a register, if there is one."""
        register = self.registers.get(key)
        if register is None or register.proposer.attempt is None:
            return None
        return register, register.proposer.attempt

    def _promised(self, now_ns: int, source: NodeId, answer: RegisterPromise) -> None:
        found = self._attempt_of(answer.key)
        if found is not None and found[1].promised(source, answer):
            self._change(now_ns, *found)

    def _change(self, now_ns: int, register: Register, attempt: Attempt) -> None:
        """A majority promised: apply what waits to the newest value, and propose the result."""
        value, chosen = attempt.found()
        config, parts, round = self.config, self._parts, attempt.ballot.round
        receiver = parts.receiver(
            session_max=config.register_session_max, unanswered_max=config.session_unanswered_max
        )
        state = RegisterState(value, parts.machine(), receiver)
        for asked in register.requests.take(round, limit=config.batch_entries_max):
            asked.answer = state.apply(round, asked.request)
        if (chosen and register.requests.are_answered) or not register.requests.under_way:
            self._finish(now_ns, attempt.key, register)
        else:
            register.requests.propose()
            self._broadcast(attempt.propose(state.encode()))

    def _accepted(self, now_ns: int, source: NodeId, answer: RegisterAccepted) -> None:
        found = self._attempt_of(answer.key)
        if found is not None and found[1].accepted(source, answer):
            self._finish(now_ns, answer.key, found[0])

    def _finish(self, now_ns: int, key: str, register: Register) -> None:
        """What was proposed or read is chosen: answer, and go on with what waits."""
        register.proposer.succeed(now_ns)
        for asked in register.requests.settle():
            assert asked.answer is not None
            answer, round = asked.answer
            self.pending -= 1
            self._answer(asked.waiter, answer, round)
        if register.requests:
            self._begin(now_ns, key, register)
        else:
            del self.registers[key]

    def _refused(self, now_ns: int, source: NodeId, answer: RegisterRefused) -> None:
        self.clock.observe(answer.promised.round)
        found = self._attempt_of(answer.key)
        if found is not None and found[1].refused(source, answer.ballot):
            self._give_way(now_ns, found[0])

    # -- messages ----------------------------------------------------------------------------------

    def _step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """One message, of a peer or of this node; those of other roles are dropped."""
        match message:
            case RegisterPrepare():
                self._prepare(now_ns, source, message)
            case RegisterPromise():
                self._promised(now_ns, source, message)
            case RegisterAccept():
                self._accept(now_ns, source, message)
            case RegisterAccepted():
                self._accepted(now_ns, source, message)
            case RegisterRefused():
                self._refused(now_ns, source, message)

    def _prepare(self, now_ns: int, source: NodeId, message: RegisterPrepare) -> None:
        self.clock.observe(message.ballot.round)
        if source != self.node:
            self._busy_until_ns[message.key] = now_ns + self.pace.ns
        self._answer_proposer(source, *self.acceptors.prepare(message))

    def _accept(self, now_ns: int, source: NodeId, message: RegisterAccept) -> None:
        self.clock.observe(message.ballot.round)
        register = self.registers.get(message.key)
        if source != self.node:
            self._busy_until_ns.pop(message.key, None)
            if register is not None:
                register.proposer.other_is_done(now_ns)
                self._due_ns = min(self._due_ns, register.proposer.deadline_ns)
        self._answer_proposer(source, *self.acceptors.accept(message))

    def _answer_proposer(self, source: NodeId, answer: Message, after: int) -> None:
        self._out.extend(self.acceptors.take_writes())
        self._send(source, answer, after)

    def _broadcast(self, message: Message, *, after: int = 0) -> None:
        for member in self.members:
            self._send(member, message, after)

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
        while self._inbox:
            self._step(now_ns, *self._inbox.popleft())
        if self._due_ns < NEVER_NS and not now_ns < self._timer_ns <= self._due_ns:
            self._timer_ns = self._due_ns
            self._out.append(SetTimer(self._due_ns))
        effects, self._out = self._out, []
        return effects


__all__ = ["PaxosParts", "PaxosRegisters"]
