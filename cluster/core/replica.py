"""Replica: a node of the Consistent Core, whole. It implements :class:`cluster.ports.Core`.

It composes a consensus (which log), a state machine (what it means), an idempotent receiver (each
command once), a waiting list (who wants to know) and an update queue (one order, bounded):

    client --> singular update queue --> consensus --> certain entries, in order
                                                           |
    client <-- request waiting list <-- state machine <-- idempotent receiver

The way of a command: admitted or refused with ``retry``; batched into the log when no earlier write
is under way; certain when a quorum has it durable; applied on every node in log order; answered by
the node that took it, if that still leads. The way of a read: the consensus names an index at which
it is linearizable, and it is answered when that index is applied.

Sources: Joshi, "Consistent Core", "Replicated Log"; etcd's server loop for the division of labour.
Any host may run it: ``cluster.runtime`` with sockets and fsync, ``cluster.simulation`` in virtual
time. Attributes without underscore may be read for invariants, never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.ablations.registry import ablate
from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.config import ClusterConfig
from cluster.consensus.leader_and_followers import LEADER
from cluster.consensus.membership import Configuration
from cluster.core.member_requests import MEMBER_OPS, MEMBERS, MemberRequests
from cluster.core.replica_members import ReplicaMembers
from cluster.core.replica_state import CONSENSUS, PendingRead
from cluster.core.state_machine import READS, Answer, problem
from cluster.ports import Effect, NodeId, Note, Recovered, Rng, SetTimer
from cluster.wire import Entry, LoggedCommand, Message, Request, Snapshot

__all__ = ["CONSENSUS", "Replica"]

_encode = msgspec.msgpack.Encoder().encode
_decode_logged = msgspec.msgpack.Decoder(LoggedCommand).decode
_decode_state = msgspec.msgpack.Decoder(strict=True).decode


class Replica(ReplicaMembers):
    """A node of the core.

    Args:
        node_id: this node.
        members: the voters the cluster was founded with; none for a node that joins it.
        config: timings and limits.
        rng: randomness for election timeouts.
        consensus: a variant's name or class.
        ablations: decisions to remove, in every class composed here; :meth:`build` removes them
            from this class too.
    """

    @classmethod
    def build(
        cls,
        node_id: NodeId,
        members: Sequence[NodeId],
        *,
        rng: Rng,
        config: ClusterConfig | None = None,
        consensus: str | type[Any] = "raft",
        ablations: Sequence[str] = (),
    ) -> Replica:
        """A replica with ablations applied to all its classes, this one included.

        Raises:
            UnknownAblation: there is none of that name.
            KeyError: there is no consensus of that name.
        """
        ablated = ablate(cls, ablations)
        return ablated(
            node_id, members, rng=rng, config=config, consensus=consensus, ablations=ablations
        )

    # -- inputs -----------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        """Begin, or begin again after a crash, from what is durable."""
        self.waiting.abandon()
        self.queue.drain()
        self.member_requests = MemberRequests()
        self._reset_state()
        if recovered.snapshot:
            self._restore(recovered.snapshot)
        self.consensus.start(now_ns, recovered)
        return self._settle(now_ns)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> list[Effect]:
        """A peer's message arrived."""
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
        self._take_request(now_ns, connection, request)
        return self._settle(now_ns)

    def on_clients(self, now_ns: int, requests: Sequence[tuple[int, Request]]) -> list[Effect]:
        """Several requests arrived at once, as (connection, request): they share a batch."""
        for connection, request in requests:
            self._take_request(now_ns, connection, request)
        return self._settle(now_ns)

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        self.queue.disconnect(connection)
        self.waiting.disconnect(connection)
        self.member_requests.disconnect(connection)
        for token in [t for t, read in self._reads.items() if read.waiter.connection == connection]:
            del self._reads[token]
        return self._settle(now_ns)

    def transfer_leadership(self, now_ns: int, to: NodeId) -> list[Effect]:
        """Hand leadership over, if this node leads and ``to`` is a voter; progress is in Notes."""
        self.consensus.transfer_leadership(now_ns, to)
        return self._settle(now_ns)

    # -- requests ---------------------------------------------------------------------------------

    def _take_request(self, now_ns: int, connection: int, request: Request) -> None:
        waiter = Waiter(connection, request.id, now_ns + max(0, request.timeout_ns))
        if request.command.op in MEMBER_OPS:
            self._take_member_request(now_ns, waiter, request)
            return
        wrong = problem(request.command)
        if wrong:
            self._reply(waiter, "fail", error=wrong)
        elif request.command.op in READS:
            self._take_read(now_ns, waiter, request)
        elif request.seq < 1 or not request.session:
            self._reply(
                waiter, "fail", error="a command that writes needs a session and a seq >= 1"
            )
        elif self.consensus.role != LEADER:
            self._redirect(waiter)
        else:
            self._take_write(waiter, request)

    def _take_write(self, waiter: Waiter, request: Request) -> None:
        known = self.receiver.remembered(request.session, request.seq)
        if known is not None:
            self._answer(waiter, *known)
        elif not self.queue.has_room(self.pending, self.config.pending_max):
            self._reply(waiter, "retry", error=f"{self.pending} requests are waiting already")
        else:
            logged = LoggedCommand(
                request.session,
                request.seq,
                request.command,
                request.first_unanswered,
                request.opened_after,
            )
            self.queue.put(waiter, _encode(logged))

    def _take_read(self, now_ns: int, waiter: Waiter, request: Request) -> None:
        if request.mode == "stale":
            self._answer(waiter, self.machine.read(request.command), self.applied)
            return
        if request.mode not in ("linearizable", "lease", "follower"):
            modes = "linearizable, lease, follower or stale"
            error = f"there is no read mode {request.mode!r}: {modes}"
            self._reply(waiter, "fail", error=error)
            return
        if not self.queue.has_room(self.pending, self.config.pending_max):
            self._reply(waiter, "retry", error=f"{self.pending} requests are waiting already")
            return
        token, self._next_token = self._next_token, self._next_token + 1
        if self.consensus.read(now_ns, token, lease=request.mode == "lease") or (
            request.mode == "follower" and self._forward_read(now_ns, token)
        ):
            self._reads[token] = PendingRead(waiter, request)
            self._reads_deadline_ns = min(self._reads_deadline_ns, waiter.deadline_ns)
        else:
            self._redirect(waiter)

    def _forward_read(self, now_ns: int, token: int) -> bool:
        """Ask the leader for the index of a read that is served here."""
        if not self._read_salt:
            # An answer to this node's former life must not name the index of a read of this one.
            self._read_salt = self._rng.between(1, 1 << 40) << 20
        return self.consensus.forward_read(now_ns, self._read_salt + token)

    # -- what follows from an input ---------------------------------------------------------------

    def _settle(self, now_ns: int) -> list[Effect]:
        """Carry everything through that an input made possible; the effects, writes first."""
        self._propose_batch(now_ns)
        effects: list[Effect] = []
        while True:
            ready = self.consensus.ready()
            effects.extend(ready.effects)
            if ready.snapshot is not None:
                self._restore(ready.snapshot)
            for entry in ready.committed:
                self._apply(entry)
            self._serve_reads(ready.reads)
            if not self._maybe_snapshot():
                break
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
        """Give the log what has gathered, unless an earlier write of ours is still under way."""
        if not self.queue:
            return
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
                for waiter in waiters:
                    self._reply(waiter, "retry", error="leadership is being handed over")
                continue
            first, generation = placed
            for index, waiter in enumerate(waiters, first):
                self.waiting.add(index, generation, waiter)

    def _apply(self, entry: Entry) -> None:
        """Apply one certain entry, and answer whoever waits for it."""
        index = self.applied = entry.index
        answer: tuple[Answer, int] | None = None
        if entry.kind == "config":
            self._answer_changes(Configuration.decode(entry.data))
        elif entry.kind == "command":
            logged = _decode_logged(entry.data)
            answer = self.receiver.admit(index, logged)
            if answer is None:
                result = self.machine.apply(index, logged.command)
                self.receiver.remember(index, logged, result)
                answer = (result, index)
        held = self.waiting.applied(index, entry.generation)
        if held is None:
            return
        waiter, own = held
        if own and answer is not None:
            self._answer(waiter, *answer)
        else:
            self._reply(waiter, "unknown", error="another entry took this one's place in the log")

    def _serve_reads(self, named: list[tuple[int, int]]) -> None:
        """Answer reads whose index is named and applied; index 0 sends the client elsewhere."""
        for token, index in named:
            token -= self._read_salt if token >= self._read_salt else 0
            read = self._reads.get(token)
            if read is not None and index == 0:
                del self._reads[token]
                self._redirect(read.waiter)
            elif read is not None:
                self._reads_at.append((index, token))
        if not self._reads_at:
            return
        later: list[tuple[int, int]] = []
        for index, token in self._reads_at:
            if not self.read_may_run(index):
                later.append((index, token))
                continue
            read = self._reads.pop(token, None)
            if read is not None and read.request.command.op == MEMBERS:
                self._answer(read.waiter, self._members(), self.applied)
            elif read is not None:
                self._answer(read.waiter, self.machine.read(read.request.command), self.applied)
        self._reads_at = later

    def read_may_run(self, index: int) -> bool:
        """Whether the state is as new as a read's index demands."""
        return self.applied >= index

    def _notice_leadership(self) -> None:
        """Leadership lost: what waits may happen yet or never, and this node will not know."""
        leads = self.consensus.generation if self.consensus.role == LEADER else 0
        if leads == self._led:
            return
        if self._led:
            for waiter in self.member_requests.abandon_changes():
                self._reply(waiter, "unknown", error=f"{self.node} lost leadership")
            for waiter in self.waiting.abandon():
                self._reply(waiter, "unknown", error=f"{self.node} lost leadership")
            for waiter in self.queue.drain():
                self._redirect(waiter)
        self._led = leads

    def _expire(self, now_ns: int) -> None:
        for waiter in self.waiting.expire(now_ns):
            self._reply(waiter, "unknown", error="the entry is not certain yet: timed out")
        for waiter in self.member_requests.expire(now_ns):
            self._reply(waiter, "unknown", error="the change is not certain yet: timed out")
        for waiter in self.queue.expire(now_ns):
            self._reply(waiter, "retry", error="timed out before it reached the log")
        if now_ns < self._reads_deadline_ns:
            return
        late = [t for t, read in self._reads.items() if read.waiter.deadline_ns <= now_ns]
        for token in late:
            self._reply(self._reads.pop(token).waiter, "retry", error="the read timed out")
        deadlines = (read.waiter.deadline_ns for read in self._reads.values())
        self._reads_deadline_ns = min(deadlines, default=NEVER_NS)

    def _next_timer(self, now_ns: int) -> SetTimer | None:
        """A timer, if the one set before is used up or too late."""
        wanted_ns = min(
            self.consensus.deadline_ns,
            self.waiting.deadline_ns,
            self.queue.deadline_ns,
            self.member_requests.deadline_ns,
            self._reads_deadline_ns,
        )
        if now_ns < self._timer_ns <= wanted_ns:
            return None
        self._timer_ns = wanted_ns
        return SetTimer(wanted_ns)

    # -- snapshots --------------------------------------------------------------------------------

    def _maybe_snapshot(self) -> bool:
        """Take a snapshot when enough was applied since the last; whether one was taken."""
        consensus = self.consensus
        if self.applied - consensus.snapshot_index < self.config.snapshot_entries:
            return False
        before = consensus.snapshot_index
        consensus.compact(self.applied, self.encode_state())
        return consensus.snapshot_index > before

    def encode_state(self) -> bytes:
        """The replicated state as bytes: state machine and sessions, in one."""
        return _encode((self.machine.encode(), self.receiver.encode()))

    def _restore(self, snapshot: Snapshot) -> None:
        machine, receiver = _decode_state(snapshot.data)
        self.machine = self._new_machine()
        self.machine.restore(machine)
        self.receiver.restore(receiver)
        self.applied = snapshot.index
        self._out.append(Note("state-restored", {"index": snapshot.index}))
