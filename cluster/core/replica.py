"""Replica: a node of the Consistent Core, whole. It implements :class:`cluster.ports.Core`.

Problem. Who is a member, who holds a lease, and which node has which partition must have one answer
for all nodes of a large system. Nodes that each decide it for themselves come to different answers.

Solution. Three or five nodes keep these facts in one replicated state, and all others ask them. A
node of this core is composed of a consensus (which log), the replicated state (what the log means),
and the parts that serve clients, each with the requests that wait there:

    client --> writes --> consensus --> committed entries, in order --> replicated state
    client <-- writes <---------------------------------------------------- |
    client <-> reads <-- an index from the consensus, then the state at that index
    client <-> member requests <-- changes of members and of leadership

The way of a command: admitted, or refused with ``retry``; batched into the log when no earlier
write is under way and ``request_batch`` lets it go; committed when a quorum has it durable; applied
on every node in log order; answered by the node that took it, if that still leads. The way of a
read: the consensus names an index at which it is linearizable, and it is answered when that index
is applied. This module gives every input to the part it concerns, and then carries through what the
input made possible (:meth:`Replica._settle`).

Invariants. Entries are applied in order, each once, and none above the high-water mark. Each
request is answered once, or its connection is gone. What was admitted and not answered when
leadership is lost has an unknown outcome, and is answered so.

What breaks without it. A48: a data node that believes its cached map serves a partition which the
core has given to another. What breaks inside the core is told by the part: A11 to A33 by those of
the consensus, A26 and A27a by those that serve clients, A13 and A49e by the leases.

Source: Joshi, "Consistent Core", "Replicated Log"; etcd's server loop for the division of labour.
Any host may run it: ``cluster.runtime`` with sockets and fsync, ``cluster.simulation`` in virtual
time. Attributes without underscore may be read for invariants, never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.channel.request_waiting_list import Waiter
from cluster.config import ClusterConfig
from cluster.consensus.interface import Consensus, Ready
from cluster.consensus.leader_and_followers import LEADER
from cluster.consensus.membership import Configuration
from cluster.core.answers import fail
from cluster.core.client_answers import ClientAnswers
from cluster.core.damage import recovering
from cluster.core.lease_keeper import LeaseKeeper
from cluster.core.member_requests import MEMBER_OPS, MEMBERS, member_request_problem
from cluster.core.parts import ReplicaParts
from cluster.core.pending_requests import PendingRequests
from cluster.core.reads import Reads
from cluster.core.replicated_state import ReplicatedState
from cluster.core.snapshot_keeper import SnapshotKeeper
from cluster.core.state_watch import WATCH
from cluster.core.writes import Writes
from cluster.measures import Measures
from cluster.ports import Clock, Effect, NodeId, Recovered, Rng, SetTimer
from cluster.wire import Message, RegisterMessage, Request, Snapshot

#: So many entries take longer to apply than a step more costs.
STEP_ENTRIES = 4


class Replica:
    """A node of the core.

    Args:
        node_id: this node.
        members: the voters the cluster was founded with; none for a node that joins it.
        rng: randomness for election timeouts.
        clock: the node's clocks; the times of events are of its monotonic one.
        config: timings and limits.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        node_id: NodeId,
        members: Sequence[NodeId],
        *,
        rng: Rng,
        clock: Clock,
        config: ClusterConfig | None = None,
        parts: ReplicaParts = ReplicaParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node_id
        self.config = config if config is not None else ClusterConfig()
        self._parts = parts
        self._rng, self._clock = rng, clock
        self.consensus: Consensus = parts.consensus.build(
            node_id, members, config=self.config, rng=rng
        )
        #: see :class:`cluster.ports.InSteps`
        self.in_steps = False
        self._reset()

    def _reset(self) -> None:
        """Make all that is lost in a crash anew: everything but the consensus, which recovers."""
        node, config, parts, consensus = self.node, self.config, self._parts, self.consensus
        self.state = state = ReplicatedState(config, parts.machine, parts.receiver)
        self._answers = answers = ClientAnswers(
            node, config=config, consensus=consensus, state=state
        )
        queue = parts.queue()
        self._pending = pending = PendingRequests(
            answers, queue.has_room, pending_max=config.pending_max
        )
        self._writes = Writes(
            queue,
            parts.waiting(),
            parts.batch(),
            config=config,
            consensus=consensus,
            state=state,
            answers=answers,
            pending=pending,
        )
        self._members = parts.member_requests(
            node, consensus=consensus, state=state, answers=answers, pending=pending
        )
        self._reads = Reads(
            node,
            rng=self._rng,
            parts=parts,
            consensus=consensus,
            state=state,
            answers=answers,
            pending=pending,
        )
        pending.hold(self._writes, self._members, self._reads)
        self._snapshots = SnapshotKeeper(node, config=config, consensus=consensus, state=state)
        self._leases = LeaseKeeper(
            self._clock, measure=parts.lease_clock(), consensus=consensus, state=state
        )
        self._led = 0
        self._timer_ns = 0
        #: what the last input has committed, which :meth:`more` applies; None if that is done
        self.unfinished: Ready | None = None

    # -- what others may look at -------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Client requests that wait for an answer."""
        return len(self._pending)

    @property
    def applied(self) -> int:
        """Index of the last entry applied to the state."""
        return self.state.applied

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
            "sessions": len(self.state.receiver.sessions),
            "keys": len(self.state.machine),
            "duplicates": self.state.receiver.duplicates,
            "recovering": recovering(self.node, self.config, consensus),
        }

    def measures(self) -> Measures:
        """What the services measure, for ``/metrics``."""
        own = self._reads.measures()
        own.gauges["lease_count"] = len(self.state.machine.leases.table)
        return own

    def state_hash(self) -> str:
        """Hex digest of the applied state: equal on all nodes at an equal applied index."""
        return self.state.digest()

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
        self._pending.expire(now_ns)
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
        self._pending.disconnect(connection)
        return self._settle(now_ns)

    def transfer_leadership(self, now_ns: int, to: NodeId) -> list[Effect]:
        """Hand leadership over, if this node leads and ``to`` is a voter; progress is in Notes."""
        self.consensus.transfer_leadership(now_ns, to)
        return self._settle(now_ns)

    # -- requests ----------------------------------------------------------------------------------

    def _take_request(self, now_ns: int, connection: int, request: Request) -> None:
        waiter = Waiter(connection, request.id, now_ns + max(0, request.timeout_ns))
        command, machine = request.command, self.state.machine
        op = command.op
        if op in MEMBER_OPS:
            wrong = member_request_problem(command)
        else:
            wrong = machine.watch_problem(command) if op == WATCH else machine.problem(command)
        if wrong:
            self._answers.give(waiter, fail(wrong))
        elif op in machine.reads or op == MEMBERS:
            self._reads.take(now_ns, waiter, request)
        elif op == WATCH:
            self._reads.take_watch(waiter, command)
        elif op in MEMBER_OPS:
            self._members.take(now_ns, waiter, command)
        else:
            self._writes.take(waiter, request)

    # -- what follows from an input ----------------------------------------------------------------

    def _settle(self, now_ns: int) -> list[Effect]:
        """Carry everything through that an input made possible; the effects, writes first.

        In steps, the writes and messages come alone if there is much to apply: the disk and the
        peers can work meanwhile.
        """
        assert self.unfinished is None, f"{self.node} has not applied what it committed"
        self._writes.propose(now_ns)
        ready = self.consensus.ready()
        effects = ready.effects
        if effects and self.in_steps and len(ready.committed) >= STEP_ENTRIES:
            self.unfinished = ready
            return effects
        return self._finish(now_ns, ready, effects)

    def more(self, now_ns: int) -> list[Effect]:
        """In steps: apply what the last input committed. To be called before the next input."""
        ready, self.unfinished = self.unfinished, None
        return self._finish(now_ns, ready, []) if ready is not None else []

    def _finish(self, now_ns: int, ready: Ready, effects: list[Effect]) -> list[Effect]:
        """Apply, serve and answer; ``effects`` and what follows."""
        consensus, variant, mark = self.consensus, self.consensus.variant, self.consensus.node.mark
        while True:
            changed = self._apply(now_ns, ready)
            #: the generation this node leads; 0 if it does not
            leads = variant.node.clock.generation if variant.role == LEADER else 0
            kept = changed and self._snapshots.keep()
            if not kept and not self._leases.keep(now_ns, leads):
                break
            ready = consensus.ready()
            effects += ready.effects
        applied = self.state.applied
        assert applied <= mark.index, f"{self.node} has applied {applied} of {mark.index} committed"
        if leads != self._led:
            self._notice_leadership(leads)
        self._members.finish_transfers()
        effects += self._answers.take()
        timer = self._next_timer(now_ns)
        if timer is not None:
            effects.append(timer)
        return effects

    def _apply(self, now_ns: int, ready: Ready) -> bool:
        """Apply what is committed, and serve reads; whether the state is another now."""
        if ready.snapshot is not None:
            self._restore(ready.snapshot)
        for entry in ready.committed:
            answer = self.state.apply(entry)
            if entry.kind == "config":
                self._members.configured(Configuration.decode(entry.data))
            self._writes.applied(entry, answer)
        self._reads.serve(now_ns, ready.reads)
        return ready.snapshot is not None or bool(ready.committed)

    def _restore(self, snapshot: Snapshot) -> None:
        self.state.restore(snapshot)
        self._answers.note("state-restored", index=snapshot.index)

    def _notice_leadership(self, leads: int) -> None:
        """Another generation is led, or none: the outcome of every pending proposal is unknown."""
        if self._led:
            lost = f"{self.node} lost leadership"
            self._members.abandon(lost)
            self._writes.abandon(self._led, lost)
        self._led = leads

    def _next_timer(self, now_ns: int) -> SetTimer | None:
        """A timer, if the one set before is used up or too late."""
        wanted_ns = self.consensus.variant.deadline_ns
        pending_ns, lease_ns = self._pending.deadline_ns, self._leases.deadline_ns
        if pending_ns < wanted_ns:
            wanted_ns = pending_ns
        if lease_ns < wanted_ns:
            wanted_ns = lease_ns
        if now_ns < self._timer_ns <= wanted_ns:
            return None
        self._timer_ns = wanted_ns
        return SetTimer(wanted_ns)


__all__ = ["Replica", "ReplicaParts"]
