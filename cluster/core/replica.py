"""Replica: a node of the Consistent Core, whole. It implements :class:`cluster.ports.Core`.

It is composed of a consensus (which log), a state machine (what the log means), an idempotent
receiver (each command once), a waiting list (clients by the entry they wait for), an update queue
(one order, bounded), pending reads, and requests about the cluster itself:

    client --> singular update queue --> consensus --> committed entries, in order
                                                           |
    client <-- request waiting list <-- state machine <-- idempotent receiver

The way of a command: admitted, or refused with ``retry``; batched into the log when no earlier
write is under way; committed when a quorum has it durable; applied on every node in log order;
answered by the node that took it, if that still leads. The way of a read: the consensus names an
index at which it is linearizable, and it is answered when that index is applied.

Invariants. Entries are applied in order, each once, and none above the high-water mark. Each
request is answered once, or its connection is gone. What was admitted and not answered when
leadership is lost has an unknown outcome, and is answered so.

Sources: Joshi, "Consistent Core", "Replicated Log"; etcd's server loop for the division of labour.
Any host may run it: ``cluster.runtime`` with sockets and fsync, ``cluster.simulation`` in virtual
time. Attributes without underscore may be read for invariants, never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.channel.request_waiting_list import Waiter
from cluster.config import ClusterConfig
from cluster.consensus.interface import Consensus
from cluster.consensus.leader_and_followers import LEADER
from cluster.consensus.membership import Configuration
from cluster.core.answers import Answer, fail, ok
from cluster.core.damage import recovering, why_no_leader
from cluster.core.member_requests import (
    MEMBER_OPS,
    MEMBERS,
    TRANSFER,
    describe,
    member_request_problem,
)
from cluster.core.parts import ReplicaParts
from cluster.core.state_watch import WATCH
from cluster.data.follower_reads import ASK_LEADER, LEASE, NOW, READ_MODES, WAIT
from cluster.ports import Effect, NodeId, Note, Recovered, Reply, Rng, SetTimer
from cluster.wire import (
    Command,
    Entry,
    LoggedCommand,
    Message,
    RegisterMessage,
    Request,
    Response,
    Snapshot,
)

#: When a proposal of the leader's own could not be made, it is tried again after this.
PROPOSE_AGAIN_NS = 50_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode_logged = msgspec.msgpack.Decoder(LoggedCommand).decode
_decode_state = msgspec.msgpack.Decoder(strict=True).decode


class Replica:
    """A node of the core.

    Args:
        node_id: this node.
        members: the voters the cluster was founded with; none for a node that joins it.
        rng: randomness for election timeouts.
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
        parts: ReplicaParts = ReplicaParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node_id
        self.config = config if config is not None else ClusterConfig()
        self._parts = parts
        self._rng = rng
        self.consensus: Consensus = parts.consensus.build(
            node_id, members, config=self.config, rng=rng
        )
        self._reset()

    def _reset(self) -> None:
        parts, config = self._parts, self.config
        self.machine = parts.machine.build(config)
        self.receiver = parts.receiver(
            session_max=config.session_max, unanswered_max=config.session_unanswered_max
        )
        self.waiting = parts.waiting()
        self.queue = parts.queue()
        self.reads = parts.reads()
        self.follower_reads = parts.follower_reads()
        self.watch = parts.watch()
        self.lease_clock = parts.lease_clock()
        self.member_requests = parts.member_requests()
        self.applied = 0
        self._led = 0
        self._timer_ns = 0
        self._out: list[Effect] = []

    # -- what others may look at -------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Client requests that wait for an answer."""
        reading = len(self.reads) + len(self.watch)
        return len(self.queue) + len(self.waiting) + len(self.member_requests) + reading

    @property
    def configuration(self) -> Configuration:
        """The members, as far as this node's log tells."""
        return self.consensus.membership.current

    def status(self) -> dict[str, Any]:
        """JSON-ready state of the core; a host adds its own."""
        consensus, log, members = self.consensus, self.consensus.log, self.consensus.membership
        return {
            "node": self.node,
            "role": consensus.role,
            "leader": consensus.leader,
            "generation": consensus.clock.generation,
            "voted_for": consensus.clock.voted_for,
            "high_water_mark": consensus.high_water_mark,
            "applied": self.applied,
            "first_index": log.first_index,
            "last_index": log.last_index,
            "snapshot_index": consensus.snapshot_index,
            "members": list(members.current.voters),
            "learners": list(members.current.learners),
            "outgoing": list(members.current.outgoing),
            "configuration_index": members.index,
            "consensus": consensus.name,
            "pending": self.pending,
            "sessions": len(self.receiver.sessions),
            "keys": len(self.machine),
            "duplicates": self.receiver.duplicates,
            "recovering": recovering(self.node, self.config, consensus),
        }

    def state_hash(self) -> str:
        """Hex digest of the applied state: equal on all nodes at an equal applied index."""
        total = self.machine.digest() + 3 * self.receiver.digest() + 7 * self.applied
        return f"{total % (1 << 128):032x}"

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        """Begin, or begin again after a crash, from what is durable."""
        self._reset()
        if recovered.snapshot:
            self._restore(recovered.snapshot)
        self.consensus.start(now_ns, recovered)
        return self._settle(now_ns)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> list[Effect]:
        """A peer's message arrived; one of another role is dropped."""
        if not isinstance(message, RegisterMessage):
            self.consensus.step(now_ns, source, message)
        return self._settle(now_ns)

    def on_tick(self, now_ns: int) -> list[Effect]:
        """The time asked for by the last SetTimer has come."""
        self._expire(now_ns)
        self.consensus.tick(now_ns)
        return self._settle(now_ns)

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        """Every write up to and including ``io_id`` is durable."""
        self.consensus.persisted(now_ns, io_id)
        return self._settle(now_ns)

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's request arrived on a connection."""
        return self.on_clients(now_ns, ((connection, request),))

    def on_clients(self, now_ns: int, requests: Sequence[tuple[int, Request]]) -> list[Effect]:
        """Several requests arrived at once, as (connection, request): they share a batch."""
        for connection, request in requests:
            self._take_request(now_ns, connection, request)
        return self._settle(now_ns)

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        for part in (self.queue, self.waiting, self.member_requests, self.reads, self.watch):
            part.disconnect(connection)
        return self._settle(now_ns)

    def transfer_leadership(self, now_ns: int, to: NodeId) -> list[Effect]:
        """Hand leadership over, if this node leads and ``to`` is a voter; progress is in Notes."""
        self.consensus.transfer_leadership(now_ns, to)
        return self._settle(now_ns)

    # -- requests ----------------------------------------------------------------------------------

    def _take_request(self, now_ns: int, connection: int, request: Request) -> None:
        waiter = Waiter(connection, request.id, now_ns + max(0, request.timeout_ns))
        command = request.command
        wrong = self._problem(command)
        if wrong:
            self._answer(waiter, fail(wrong))
        elif command.op in self.machine.reads or command.op == MEMBERS:
            self._take_read(now_ns, waiter, request)
        elif command.op == WATCH:
            self._take_watch(waiter, command)
        elif command.op in MEMBER_OPS:
            self._take_member_request(now_ns, waiter, command)
        elif request.seq < 1 or not request.session:
            self._answer(waiter, fail("a command that writes needs a session and a seq >= 1"))
        elif self.consensus.role != LEADER:
            self._redirect(waiter)
        else:
            self._take_write(waiter, request)

    def _take_write(self, waiter: Waiter, request: Request) -> None:
        known = self.receiver.remembered(request.session, request.seq)
        if known is not None:
            self._answer(waiter, *known)
        elif self._has_room(waiter):
            logged = LoggedCommand(
                request.session,
                request.seq,
                request.command,
                request.first_unanswered,
                request.opened_after,
            )
            self.queue.put(waiter, _encode(logged))

    def _problem(self, command: Command) -> str:
        if command.op in MEMBER_OPS:
            return member_request_problem(command)
        machine = self.machine
        return machine.watch_problem(command) if command.op == WATCH else machine.problem(command)

    def _take_read(self, now_ns: int, waiter: Waiter, request: Request) -> None:
        mode = request.mode
        if mode not in READ_MODES:
            modes = f"{', '.join(READ_MODES[:-1])} or {READ_MODES[-1]}"
            self._answer(waiter, fail(f"there is no read mode {mode!r}: {modes}"))
            return
        way = self.follower_reads.way(now_ns, request, self.applied)
        if way == NOW:
            self._answer(waiter, self._read(request.command))
        elif self._has_room(waiter):
            if way == WAIT:
                self.reads.wait_for(request.min_revision, waiter, request.command)
            else:
                self._take_indexed_read(now_ns, waiter, request, may_ask=way == ASK_LEADER)

    def _take_indexed_read(
        self, now_ns: int, waiter: Waiter, request: Request, *, may_ask: bool
    ) -> None:
        """A read that needs an index: the consensus names it, or the leader is asked for it."""
        token = self.reads.next_token()
        consensus = self.consensus
        if consensus.read(now_ns, token, lease=request.mode == LEASE) or (
            may_ask and consensus.forward_read(now_ns, self.reads.forwarded(token, self._rng))
        ):
            self.reads.add(token, waiter, request.command, now_ns)
        else:
            self._redirect(waiter)

    def _take_watch(self, waiter: Waiter, command: Command) -> None:
        if self._has_room(waiter):
            answer = self.watch.take(waiter, command, self.machine.watched, self.applied)
            if answer is not None:
                self._answer(waiter, answer)

    def _take_member_request(self, now_ns: int, waiter: Waiter, command: Command) -> None:
        consensus = self.consensus
        if command.op == TRANSFER and command.key and command.key == consensus.leader:
            self._answer(waiter, ok(command.key))
        elif consensus.role != LEADER:
            self._redirect(waiter)
        elif self._has_room(waiter):
            refused = self.member_requests.begin(now_ns, waiter, command, consensus)
            if refused is not None:
                self._answer(waiter, refused)
            elif consensus.membership.index <= self.applied:
                self._answer_changes(consensus.membership.current)

    def _has_room(self, waiter: Waiter) -> bool:
        """Whether one more request may wait; if not, it is told to try again."""
        if self.queue.has_room(self.pending, self.config.pending_max):
            return True
        self._answer(waiter, ("retry", None, f"{self.pending} requests are waiting already"))
        return False

    # -- what follows from an input ----------------------------------------------------------------

    def _settle(self, now_ns: int) -> list[Effect]:
        """Carry everything through that an input made possible; the effects, writes first."""
        if self.queue:
            self._propose_batch(now_ns)
        effects: list[Effect] = []
        while True:
            ready = self.consensus.ready()
            effects.extend(ready.effects)
            if ready.snapshot is not None:
                self._restore(ready.snapshot)
            for entry in ready.committed:
                self._apply(entry)
            if self.reads:
                self._serve_reads(ready.reads)
            if self.watch:
                for waiter, answer in self.watch.notice(self.machine.watched, self.applied):
                    self._answer(waiter, answer)
            if not self._maybe_snapshot() and not self._keep_leases(now_ns):
                break
        assert self.applied <= self.consensus.high_water_mark, (
            f"{self.node} has applied {self.applied}, "
            f"and {self.consensus.high_water_mark} is committed"
        )
        self._notice_leadership()
        if self.member_requests.transfers:
            self._notice_transfers()
        if self._out:
            effects.extend(self._out)
            self._out = []
        timer = self._next_timer(now_ns)
        if timer is not None:
            effects.append(timer)
        return effects

    def _propose_batch(self, now_ns: int) -> None:
        """Give the log what has gathered, unless an earlier write of entries is under way."""
        if self.consensus.role != LEADER:
            for waiter in self.queue.drain():
                self._redirect(waiter)
            return
        while self.queue and self.consensus.accepts_batch:
            waiters, data = self.queue.take(
                entries_max=self.config.batch_entries_max,
                bytes_max=self.config.batch_bytes_max,
            )
            placed = self.consensus.propose(now_ns, data)
            if placed is None:
                self._answer_all(waiters, "retry", "leadership is being handed over")
                continue
            for index, waiter in enumerate(waiters, placed[0]):
                if not self.waiting.add(index, placed[1], waiter):
                    self._answer(waiter, ok(None))

    def _apply(self, entry: Entry) -> None:
        """Apply one committed entry, and answer the client that waits for it."""
        index = entry.index
        assert index == self.applied + 1, f"entry {index} is applied after {self.applied}"
        self.applied = index
        answer: tuple[Answer, int] | None = None
        if entry.kind == "config":
            self._answer_changes(Configuration.decode(entry.data))
        elif entry.kind == "command":
            answer = self._apply_command(index, _decode_logged(entry.data))
        held = self.waiting.applied(index, entry.generation)
        if held is None:
            return
        waiter, own = held
        if own and answer is not None:
            self._answer(waiter, *answer)
        else:
            replaced = "another entry took this one's place in the log"
            self._answer(waiter, ("unknown", None, replaced))

    def _apply_command(self, index: int, logged: LoggedCommand) -> tuple[Answer, int] | None:
        """Apply a command, unless it was applied before; its answer, and where that was."""
        if not logged.session:  # a leader's own proposal: nobody waits for it, nobody repeats it
            self.machine.apply_internal(index, logged.command)
            return None
        answer = self.receiver.admit(index, logged)
        if answer is None:
            result = self.machine.apply(index, logged.command)
            self.receiver.remember(index, logged, result)
            answer = (result, index)
        return answer

    def _keep_leases(self, now_ns: int) -> bool:
        """Measure the leases; a leader proposes the ends of those that are over. Whether it did."""
        clock, leases = self.lease_clock, self.machine.leases
        if leases.fresh:
            clock.begin(now_ns, leases)
        commands = clock.proposals(
            now_ns,
            leases,
            leads=self._leads(),
            last_index=self.consensus.log.last_index,
            applied=self.applied,
        )
        for command in commands:
            data = _encode(LoggedCommand("", 0, command))
            if self.consensus.propose(now_ns, [data]) is None:
                clock.again(now_ns + PROPOSE_AGAIN_NS, command)
        return bool(commands)

    def _leads(self) -> int:
        """The generation this node leads; 0 if it does not."""
        return self.consensus.clock.generation if self.consensus.role == LEADER else 0

    def _serve_reads(self, named: list[tuple[int, int]]) -> None:
        """Answer reads whose index is named and applied; index 0 sends the client elsewhere."""
        for waiter in self.reads.name(named):
            self._redirect(waiter)
        for read in self.reads.take_runnable(self.applied):
            if read.asked_ns >= 0:
                self.follower_reads.confirmed(read.asked_ns)
            self._answer(read.waiter, self._read(read.command))

    def _read(self, command: Command) -> Answer:
        if command.op == MEMBERS:
            return self._members(self.consensus.committed_configuration)
        return self.machine.read(command)

    def _notice_leadership(self) -> None:
        """Leadership is lost: the outcome of every pending proposal is unknown."""
        leads = self._leads()
        if leads == self._led:
            return
        if self._led:
            lost = f"{self.node} lost leadership"
            self._answer_all(self.member_requests.abandon_changes(), "unknown", lost)
            self._answer_all(self.waiting.abandon(), self.waiting.outcome_when_lost(), lost)
            for waiter in self.queue.drain():
                self._redirect(waiter)
        self._led = leads

    def _notice_transfers(self) -> None:
        """Answer the clients that asked for another leader, once there is one, or it failed."""
        leader = self.consensus.leader
        if leader and not self.consensus.handing_over:
            for waiter, answer in self.member_requests.take_transfers(leader):
                self._answer(waiter, answer)

    def _expire(self, now_ns: int) -> None:
        late = self.waiting.expire(now_ns)
        self._answer_all(late, "unknown", "the entry is not committed yet: timed out")
        late = self.member_requests.expire(now_ns)
        self._answer_all(late, "unknown", "the change is not committed yet: timed out")
        self._answer_all(self.queue.expire(now_ns), "retry", "timed out before it reached the log")
        self._answer_all(self.reads.expire(now_ns), "retry", "the read timed out")
        for waiter, answer in self.watch.expire(now_ns, self.applied):
            self._answer(waiter, answer)

    def _next_timer(self, now_ns: int) -> SetTimer | None:
        """A timer, if the one set before is used up or too late."""
        wanted_ns = min(
            self.consensus.deadline_ns,
            self.waiting.deadline_ns,
            self.queue.deadline_ns,
            self.member_requests.deadline_ns,
            self.reads.deadline_ns,
            self.watch.deadline_ns,
            self.lease_clock.deadline_ns,
        )
        if now_ns < self._timer_ns <= wanted_ns:
            return None
        self._timer_ns = wanted_ns
        return SetTimer(wanted_ns)

    # -- answers -----------------------------------------------------------------------------------

    def _redirect(self, waiter: Waiter) -> None:
        leader = self.consensus.leader
        if leader and leader != self.node:
            self._answer(waiter, ("redirect", None, f"{leader} leads, {self.node} does not"))
        else:
            why = why_no_leader(self.node, self.config, self.consensus)
            self._answer(waiter, ("retry", None, why))

    def _answer_changes(self, configuration: Configuration) -> None:
        """A configuration is applied: answer the clients whose change is done by it."""
        for waiter in self.member_requests.committed(configuration):
            self._answer(waiter, self._members(configuration))

    def _members(self, configuration: Configuration) -> Answer:
        return ok(describe(configuration, node=self.node, leader=self.consensus.leader))

    def _answer_all(self, waiters: Sequence[Waiter], status: str, error: str) -> None:
        for waiter in waiters:
            self._answer(waiter, (status, None, error))

    def _answer(self, waiter: Waiter, answer: Answer, revision: int = 0) -> None:
        """Answer a client; the revision is the applied index, unless another is given."""
        status, value, error = answer
        leader = self.consensus.leader
        response = Response(waiter.request, status, value, revision or self.applied, leader, error)
        self._out.append(Reply(waiter.connection, response))

    # -- snapshots ---------------------------------------------------------------------------------

    def _maybe_snapshot(self) -> bool:
        """Take a snapshot when enough was applied since the last; whether one was taken."""
        consensus = self.consensus
        before = consensus.snapshot_index
        if self.applied - before < self.config.snapshot_entries:
            return False
        consensus.compact(self.applied, self.encode_state())
        return consensus.snapshot_index > before

    def encode_state(self) -> bytes:
        """The replicated state as bytes: state machine and sessions, in one."""
        return _encode((self.machine.encode(), self.receiver.encode()))

    def _restore(self, snapshot: Snapshot) -> None:
        assert snapshot.index > self.applied, f"{snapshot.index} would rewind {self.applied}"
        machine, receiver = _decode_state(snapshot.data)
        self.machine = self._parts.machine.build(self.config)
        self.machine.restore(machine)
        self.receiver.restore(receiver)
        self.applied = snapshot.index
        self._out.append(Note("state-restored", {"index": snapshot.index}))


__all__ = ["Replica", "ReplicaParts"]
