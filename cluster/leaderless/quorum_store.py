"""Quorum Store: a coordinator's requests, each carried out with a quorum of a key's replicas.

Problem. No node leads. Whichever is asked must read what others have acknowledged, and acknowledge
only what others will read.

Solution. Any replica of a key coordinates requests for it; another node names a replica to the
client. A write is carried out on the coordinator's own state, which goes to all replicas at once;
each merges it and answers when that is durable, the coordinator's own copy among them. With W
answers the client is answered. A read asks all replicas and merges the first R answers; where they
differ, the result is first written back (``read_repair``). Since R + W > N, a read meets every
acknowledged write and all that an earlier read has told. A removal must find what it removes, so it
reads first. Silent replicas are asked again, and get a hint if they seem to be away
(``hinted_handoff``).

A request with mode ``one`` is answered by the coordinator's own copy, when that is durable; writes
go to all replicas all the same.

While members change, a quorum is one of the former replicas and one of those to come
(:mod:`cluster.leaderless.ring`). When the ring changes under a request, what was answered under the
old one does not count: the replicas of the new one are asked.

A client that asks twice may be served by two coordinators at once. Each carries the request out
once, in one dot: a copy that the state has seen changes nothing, and is answered when the state
that has it is on a quorum. What two coordinators made of it is one event to the versions
(``cluster.clocks.version_vector``).

Invariants. Each request is answered once, or its connection is gone. ``ok`` is said of a quorum
write only when W replicas have it durably. ``retry`` is never said of a write that was carried out
anywhere: its outcome is ``unknown``.

What breaks without it. A11c: hints in the quorum. A11d: reads without write-back.

Source: DeCandia et al., "Dynamo" (2007); Attiya, Bar-Noy and Dolev (1995); Joshi, "Majority
Quorum". Used by ``cluster.leaderless.node``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import reduce
from typing import Any

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.clocks.version_vector import NOTHING, KeyState
from cluster.config import ClusterConfig
from cluster.core.answers import Answer
from cluster.leaderless.commands import Rules
from cluster.leaderless.hinted_handoff import HintedHandoff
from cluster.leaderless.operations import MODES, READS
from cluster.leaderless.read_repair import ReadRepair
from cluster.leaderless.replica_states import ReplicaStates, digest_of
from cluster.leaderless.ring import Halves, is_quorum
from cluster.ports import NodeId
from cluster.wire import Request

READING, WRITING = "reading", "writing"


class Operation(msgspec.Struct):
    """A request under way.

    Args:
        id: its number at this node, in this life.
        waiter: whom to answer, and by when.
        request: what was asked.
        key: under which the object is held.
        replicas: of the key.
        halves: the sets of them in each of which a quorum is needed.
        phase: ``reading`` or ``writing``.
        again_ns: when the silent ones are asked again.
        held: replica -> what it holds; of a reading.
        state: what is written, or was found.
        have: replicas that have the state durably.
        hinted: replicas that a hint is kept for.
        changed: whether a change was carried out: from then on its outcome is not "no".
        told: what its client is told of a change.
    """

    id: int
    waiter: Waiter
    request: Request
    key: str
    replicas: tuple[NodeId, ...]
    halves: Halves
    phase: str = READING
    again_ns: int = 0
    held: dict[NodeId, KeyState] = msgspec.field(default_factory=dict)
    state: KeyState = NOTHING
    have: dict[NodeId, None] = msgspec.field(default_factory=dict)
    hinted: dict[NodeId, None] = msgspec.field(default_factory=dict)
    changed: bool = False
    told: Any = None

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.request.command.op in READS

    @property
    def quorum(self) -> bool:
        """Whether a quorum is waited for."""
        return MODES[self.request.mode]


class Ask(msgspec.Struct, frozen=True):
    """What an operation wants sent: a question (no state), or a state to be merged or kept."""

    to: NodeId
    id: int
    key: str
    state: KeyState | None = None
    hint_for: NodeId = ""


class Acknowledged(msgspec.Struct, frozen=True):
    """What was just acknowledged to a client; for invariants, which look at it after each event.

    Args:
        key: the object.
        state: what the answer was given for.
        wanted: how many replicas must have it durably.
        halves: the sets of replicas in each of which so many must; none if any replica will do.
        reads: whether it was a read.
    """

    key: str
    state: KeyState
    wanted: int
    halves: Halves
    reads: bool


class QuorumStore:
    """The requests that a node coordinates.

    Args:
        states: what the node holds.
        rules: how states change.
        config: quorums and timings.
        repair: decides about write-back.
        handoff: decides about hints.
        alive: whether a member seems to be there.
        next_id: numbers for what is asked of others.
    """

    def __init__(
        self,
        states: ReplicaStates,
        rules: Rules,
        *,
        config: ClusterConfig,
        repair: ReadRepair,
        handoff: HintedHandoff,
        alive: Callable[[NodeId], bool],
        next_id: Callable[[], int],
    ) -> None:
        self._states, self._rules, self._config = states, rules, config
        self._repair, self._handoff = repair, handoff
        self._alive, self._next_id = alive, next_id
        self.operations: dict[int, Operation] = {}
        #: to be sent, to be answered, and what was acknowledged, since the node last looked
        self.asks: list[Ask] = []
        self.answers: list[tuple[Waiter, Answer]] = []
        self.acknowledged: list[Acknowledged] = []
        #: not later than the first time at which something is due
        self.due_ns = NEVER_NS

    # -- requests ----------------------------------------------------------------------------------

    def take(self, now_ns: int, waiter: Waiter, request: Request, key: str) -> None:
        """A request for a key that this node is a replica of."""
        replicas = self._states.replicas(key)
        assert self._states.node in replicas, f"{self._states.node} is no replica of {key!r}"
        halves = self._states.ring.halves(key)
        operation = Operation(self._next_id(), waiter, request, key, replicas, halves)
        self.operations[operation.id] = operation
        self.due_ns = min(self.due_ns, waiter.deadline_ns)
        first = self._rules.reads_first(request.command) and operation.quorum
        if operation.reads or first:
            self._read(now_ns, operation)
        else:
            self._change(now_ns, operation, self._states.state(key))

    def disconnect(self, connection: int) -> None:
        """Forget the requests of a connection that is gone; what was written stays written."""
        for operation in list(self.operations.values()):
            if operation.waiter.connection == connection:
                del self.operations[operation.id]

    def ring_changed(self, now_ns: int) -> None:
        """The members changed: what is under way goes on with the replicas of now."""
        ring, node = self._states.ring, self._states.node
        for operation in list(self.operations.values()):
            replicas = ring.replicas(operation.key)
            if node not in replicas and not operation.changed:
                self._end(operation, ("retry", None, "the members have changed"))
                continue
            operation.replicas, operation.halves = replicas, ring.halves(operation.key)
            operation.held, operation.have, operation.hinted = {}, {}, {}
            self._ask(now_ns, operation)

    def is_busy(self, key: str) -> bool:
        """Whether a request for a key is under way."""
        return any(operation.key == key for operation in self.operations.values())

    def tick(self, now_ns: int) -> None:
        """Time has passed: end what is late, ask the silent again."""
        if now_ns < self.due_ns:
            return
        for operation in list(self.operations.values()):
            if operation.waiter.deadline_ns <= now_ns:
                status = "unknown" if operation.changed else "retry"
                self._end(operation, (status, None, "no quorum of replicas has answered"))
            elif operation.again_ns <= now_ns:
                self._ask(now_ns, operation)
        self.due_ns = min(
            (min(each.again_ns, each.waiter.deadline_ns) for each in self.operations.values()),
            default=NEVER_NS,
        )

    # -- reading -----------------------------------------------------------------------------------

    def _read(self, now_ns: int, operation: Operation) -> None:
        self._ask(now_ns, operation)

    def held(self, now_ns: int, source: NodeId, id: int, state: KeyState) -> None:
        """A replica told what it holds, durably."""
        operation = self.operations.get(id)
        if operation is None or operation.phase != READING:
            self._late(id, source, state)
            return
        operation.held[source] = state
        if not self._enough(operation, operation.held, self._config.read_quorum):
            return
        found = reduce(self._rules.merge, operation.held.values())
        operation.state, digest = found, digest_of(found)
        has = [node for node, held in operation.held.items() if digest_of(held) == digest]
        operation.have = dict.fromkeys(has)
        if operation.reads:
            self._found(now_ns, operation)
        else:
            self._change(now_ns, operation, found)

    def _found(self, now_ns: int, operation: Operation) -> None:
        """A read is merged: write it back, if a write quorum does not have it yet."""
        if operation.quorum and self._must_write_back(operation):
            self._write(now_ns, operation, operation.state)
            return
        for node in operation.held:
            if node not in operation.have:
                self._bring_up(node, operation.key, operation.state)
        silent = {*operation.replicas} - {*operation.held} if operation.quorum else set()
        self._repair.expect(operation.id, operation.key, operation.state, silent)
        self._succeed(operation)

    def _must_write_back(self, operation: Operation) -> bool:
        return any(
            self._repair.must_write_back(
                have=sum(node in operation.have for node in half),
                quorum=min(self._config.write_quorum, len(half)),
            )
            for half in operation.halves
        )

    def _late(self, id: int, source: NodeId, state: KeyState) -> None:
        """An answer that is not waited for any more may still show that a replica is behind."""
        held = self._repair.late(id, source)
        if held is None:
            return
        key, found = held
        if digest_of(self._rules.merge(state, found)) != digest_of(state):
            self._bring_up(source, key, found)

    def _bring_up(self, node: NodeId, key: str, state: KeyState) -> None:
        self._repair.repaired += 1
        self.asks.append(Ask(node, 0, key, state))

    # -- writing -----------------------------------------------------------------------------------

    def _change(self, now_ns: int, operation: Operation, base: KeyState) -> None:
        """Carry the change out, on what is known; once."""
        state = self._rules.merge(self._states.state(operation.key), base)
        state = self._rules.change(state, operation.request)
        operation.changed, operation.told = True, self._rules.told()
        operation.have = {}
        self._write(now_ns, operation, state)

    def _write(self, now_ns: int, operation: Operation, state: KeyState) -> None:
        operation.phase, operation.state = WRITING, state
        merged = self._rules.merge(self._states.state(operation.key), state)
        self._states.put(operation.key, merged)
        self._ask(now_ns, operation)

    def written(self, now_ns: int, source: NodeId, id: int, hint_for: NodeId) -> None:
        """A replica has merged a state durably, or a member keeps it for a replica."""
        operation = self.operations.get(id)
        if operation is None or operation.phase != WRITING:
            return
        if hint_for:
            operation.hinted[hint_for] = None
        elif source in operation.replicas:
            operation.have[source] = None
        counted = {*operation.have}
        if self._handoff.counts():
            counted |= {*operation.hinted}
        if self._enough(operation, counted, self._config.write_quorum):
            self._succeed(operation)

    # -- both --------------------------------------------------------------------------------------

    def _ask(self, now_ns: int, operation: Operation) -> None:
        """Ask every replica that has not answered in this phase, this node included."""
        operation.again_ns = now_ns + self._config.request_retry_ns
        self.due_ns = min(self.due_ns, operation.again_ns)
        writing = operation.phase == WRITING
        answered = operation.have if writing else operation.held
        state = operation.state if writing else None
        for node in operation.replicas:
            own = node == self._states.node
            if node in answered or not (own or writing or operation.quorum):
                continue
            self.asks.append(Ask(node, operation.id, operation.key, state))
            if writing and not own and not self._alive(node):
                self._hint(operation, node)

    def _enough(self, operation: Operation, have: Collection[NodeId], wanted: int) -> bool:
        """Whether those who answered are what is waited for."""
        if not operation.quorum:
            return len(have) > 0
        return is_quorum(operation.halves, have, wanted)

    def _hint(self, operation: Operation, target: NodeId) -> None:
        if target not in operation.hinted:
            preference = self._states.ring.preference(operation.key)
            keeper = self._handoff.keeper(preference, len(operation.replicas), target, self._alive)
            self.asks.append(Ask(keeper, operation.id, operation.key, operation.state, target))

    def _succeed(self, operation: Operation) -> None:
        command = operation.request.command
        value = operation.told
        if operation.reads:
            value = self._rules.answer(operation.state, command)
        wanted = self._config.write_quorum if operation.quorum else 1
        halves = self._states.ring.asked(operation.key) if operation.quorum else ()
        self.acknowledged.append(
            Acknowledged(operation.key, operation.state, wanted, halves, operation.reads)
        )
        self._end(operation, ("ok", value, ""))

    def _end(self, operation: Operation, answer: Answer) -> None:
        del self.operations[operation.id]
        self.answers.append((operation.waiter, answer))
