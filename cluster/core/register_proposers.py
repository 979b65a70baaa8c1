"""The proposers of a node of role ``paxos``: who asks for a register, and the attempts at it.

Problem. A node works for many clients and registers at the same time, and the same answer of an
acceptor may belong to the attempt under way, to one that was given up, or to none.

Solution. A register that a client asks for here has its requests and one proposer; a register that
none asks for has nothing, and late answers about it are dropped. Answers are judged by the
attempt under way. What must be asked of acceptors and the answers to clients are gathered, and the
node takes them after each event.

Invariants. A register has one attempt of this node at a time. Each request is answered once, or its
connection is gone. Nothing that is due is later than ``due_ns``.

Source: Rystsov, "CASPaxos" (2018). Used by ``cluster.core.paxos_register``; the algorithm is in
``cluster.consensus.paxos``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.config import ClusterConfig
from cluster.consensus.paxos import Acceptor, Attempt, BallotClock, Pace, Proposer
from cluster.core.answers import Answer
from cluster.core.key_value import KeyValue
from cluster.core.register_requests import Asked, RegisterRequests
from cluster.core.register_state import RegisterState
from cluster.log.storage import Storage
from cluster.ports import NodeId, Rng
from cluster.wire import Message, RegisterAccepted, RegisterPromise, RegisterRefused


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


class Proposers:
    """The registers that are asked for at a node, by key.

    Args:
        members: the acceptors.
        clock: the node's ballots.
        config: timings and limits.
        rng: randomness for the waits between attempts.
        parts: the classes they are made of.
    """

    __slots__ = (
        "_busy_until_ns", "_clock", "_config", "_members", "_parts", "_rng", "answers", "attempts",
        "due_ns", "messages", "pace", "pending", "refused_attempts", "registers",
    )  # fmt: skip

    def __init__(
        self,
        members: Sequence[NodeId],
        *,
        clock: BallotClock,
        config: ClusterConfig,
        rng: Rng,
        parts: PaxosParts,
    ) -> None:
        self._members = tuple(members)
        self._clock, self._config, self._rng, self._parts = clock, config, rng, parts
        self.pace = Pace(config.ballot_backoff_min_ns)
        self.registers: dict[str, Register] = {}
        self.pending = self.attempts = self.refused_attempts = 0
        #: not later than the first time at which something is due
        self.due_ns = NEVER_NS
        #: (acceptor, what it is asked) to be sent
        self.messages: list[tuple[NodeId, Message]] = []
        #: (who, what, round; 0 for none) to be answered
        self.answers: list[tuple[Waiter, Answer, int]] = []
        #: until when another node's attempt at a register is taken to be under way
        self._busy_until_ns: dict[str, int] = {}

    # -- requests ----------------------------------------------------------------------------------

    def take(self, now_ns: int, asked: Asked) -> None:
        """A request that is not refused."""
        key = asked.request.command.key
        register = self.registers.get(key)
        if register is None:
            proposer = Proposer(self._config, self._rng, self.pace, self._parts.attempt)
            register = self.registers[key] = Register(proposer, self._parts.requests())
        self._clock.observe(asked.request.opened_after)
        register.requests.waiting.append(asked)
        self.pending += 1
        self.due_ns = min(self.due_ns, asked.waiter.deadline_ns)
        if register.proposer.idle:
            self._begin(now_ns, key, register)

    def disconnect(self, connection: int) -> None:
        """Forget the requests of a connection that is gone."""
        self._remove(lambda asked: asked.waiter.connection == connection)

    def tick(self, now_ns: int) -> None:
        """Time has passed: end what is late, and go on where a wait is over."""
        if now_ns < self.due_ns:
            return
        for asked in self._remove(lambda asked: asked.waiter.deadline_ns <= now_ns):
            status = "unknown" if asked.proposed else "retry"
            self.answers.append((asked.waiter, (status, None, "no majority has answered"), 0))
        for key, register in list(self.registers.items()):
            if register.proposer.deadline_ns <= now_ns:
                self._go_on(now_ns, key, register)
        self.due_ns = NEVER_NS
        for register in self.registers.values():
            first_ns = min(register.proposer.deadline_ns, register.requests.deadline_ns)
            self.due_ns = min(self.due_ns, first_ns)

    def _remove(self, gone: Callable[[Asked], bool]) -> list[Asked]:
        removed = []
        for register in self.registers.values():
            removed += register.requests.remove(gone)
        self.pending -= len(removed)
        return removed

    # -- answers of acceptors ----------------------------------------------------------------------

    def promised(self, now_ns: int, source: NodeId, answer: RegisterPromise) -> None:
        """An acceptor promised."""
        found = self._attempt_of(answer.key)
        if found is not None and found[1].promised(source, answer):
            self._change(now_ns, *found)

    def accepted(self, now_ns: int, source: NodeId, answer: RegisterAccepted) -> None:
        """An acceptor accepted."""
        found = self._attempt_of(answer.key)
        if found is not None and found[1].accepted(source, answer):
            self._finish(now_ns, answer.key, found[0])

    def refused(self, now_ns: int, source: NodeId, answer: RegisterRefused) -> None:
        """An acceptor refused, since it promised a higher ballot."""
        self._clock.observe(answer.promised.round)
        found = self._attempt_of(answer.key)
        if found is not None and found[1].refused(source, answer.ballot):
            self._give_way(now_ns, found[0])

    # -- other proposers ---------------------------------------------------------------------------

    def other_prepares(self, now_ns: int, key: str) -> None:
        """Another node's attempt at a register began."""
        self._busy_until_ns[key] = now_ns + self.pace.ns

    def other_proposes(self, now_ns: int, key: str) -> None:
        """Another node's attempt at a register is nearly done."""
        self._busy_until_ns.pop(key, None)
        register = self.registers.get(key)
        if register is not None:
            register.proposer.other_is_done(now_ns)
            self.due_ns = min(self.due_ns, register.proposer.deadline_ns)

    # -- attempts ----------------------------------------------------------------------------------

    def _attempt_of(self, key: str) -> tuple[Register, Attempt] | None:
        """The attempt under way at a register, if there is one."""
        register = self.registers.get(key)
        if register is None or register.proposer.attempt is None:
            return None
        return register, register.proposer.attempt

    def _begin(self, now_ns: int, key: str, register: Register) -> None:
        """A new attempt, unless another node's is under way."""
        proposer = register.proposer
        if not proposer.yields(now_ns, self._busy_until_ns.get(key, 0)):
            register.requests.begin()
            prepare = proposer.begin(now_ns, key, self._clock.next(), self._members)
            self.attempts += 1
            self._ask(prepare, self._members)
        self.due_ns = min(self.due_ns, proposer.deadline_ns)

    def _change(self, now_ns: int, register: Register, attempt: Attempt) -> None:
        """A majority promised: apply what waits to the newest value, and propose the result."""
        value, chosen = attempt.found()
        config, parts, round = self._config, self._parts, attempt.ballot.round
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
            self._ask(attempt.propose(state.encode()), self._members)

    def _finish(self, now_ns: int, key: str, register: Register) -> None:
        """What was proposed or read is chosen: answer, and go on with what waits."""
        register.proposer.succeed(now_ns)
        for asked in register.requests.settle():
            assert asked.answer is not None
            self.pending -= 1
            self.answers.append((asked.waiter, *asked.answer))
        if register.requests:
            self._begin(now_ns, key, register)
        else:
            del self.registers[key]

    def _go_on(self, now_ns: int, key: str, register: Register) -> None:
        """Acceptors are silent, or a wait is over."""
        attempt = register.proposer.attempt
        if not register.requests:
            del self.registers[key]
        elif attempt is None:
            self._begin(now_ns, key, register)
        else:
            again = attempt.ask_again()
            if again is None:
                self._give_way(now_ns, register)
            else:
                self._ask(*again)
                register.proposer.wait_for_answers(now_ns)

    def _give_way(self, now_ns: int, register: Register) -> None:
        """The attempt was refused: its requests wait for the next."""
        register.requests.put_back()
        register.proposer.give_way(now_ns)
        self.refused_attempts += 1
        self.due_ns = min(self.due_ns, register.proposer.deadline_ns)

    def _ask(self, message: Message, acceptors: Sequence[NodeId]) -> None:
        self.messages += [(acceptor, message) for acceptor in acceptors]
