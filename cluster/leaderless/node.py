"""A node of role ``leaderless``: keys on N nodes, any of which takes reads and writes.

It implements :class:`cluster.ports.Core`. There is no leader and no log: what a node holds of a
key is a state that can be merged with any other, and all that nodes send each other is states to be
merged, and questions about them.

    client --> quorum store ==read, write==> replica sides of the key's replicas, this node's too
                   |                              |
              hints for those              states by key --> records --> storage
              who are away                        |
                                   anti-entropy, tombstones
    group (gossip) --> ring member: rings agreed on, keys fetched and given away

How versions are ordered is ``ClusterConfig.versions``: dotted version vectors, which keep what is
concurrent, or stamps, of which the highest wins. Requests are those of
``cluster.leaderless.commands``; ``Request.mode`` is ``quorum`` (or ``linearizable``, the clients'
default) or ``one``. Which nodes seem to be there is found out by gossip
(``cluster.gossip.group_membership``), and decides who is asked first and for whom hints are kept,
never what a quorum is. Quorums follow from the ring of members, which changes by agreement
(``ring_changes``, where the guarantee is stated that holds meanwhile; ``ring_member``).

Invariants. What this node says of a state is durable first, to itself too. An actor, which names
the node's writes, is of one life of the node. A message whose stamp the clock does not accept is
dropped, and so is one that was sent under another ring.

Source: DeCandia et al., "Dynamo" (2007); Joshi, "Version Vector". Attributes without underscore may
be read for invariants, never written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from cluster.channel.request_waiting_list import Waiter
from cluster.clocks.version_vector import Dot, KeyState
from cluster.config import ClusterConfig
from cluster.consensus.membership import Configuration
from cluster.core.answers import Answer, fail
from cluster.gossip.emergent_leader import LeaderMemory
from cluster.gossip.group_membership import GroupMembership, status_of
from cluster.leaderless.commands import store_key
from cluster.leaderless.last_writer_wins import stamp_of
from cluster.leaderless.operations import MODES, READS
from cluster.leaderless.outgoing import Outgoing
from cluster.leaderless.parts import LeaderlessParts, make_rules, make_stamps
from cluster.leaderless.quorum_store import Ask, QuorumStore
from cluster.leaderless.replica_side import ReplicaSide
from cluster.leaderless.replica_states import (
    ReplicaStates,
    decode_state,
    encode_state,
    replay,
)
from cluster.leaderless.ring_member import RingMember, make_changes, memory_of
from cluster.leaderless.ring_requests import RING_OPS
from cluster.ports import Clock, Effect, NodeId, Note, Recovered, Reply, Rng, SetTimer
from cluster.wire import (
    GossipMessage,
    HandedOver,
    HardState,
    KeysOwed,
    KeysPage,
    KeysWanted,
    LeaderlessMessage,
    Message,
    RangeDigests,
    RangeKeys,
    Reap,
    ReapAsk,
    ReapYes,
    RegisterMessage,
    Request,
    Response,
    ShallLeave,
    StableView,
    VersionsHeld,
    VersionsRead,
    VersionsWrite,
    VersionsWritten,
)

#: What such a node is, in its status.
PEER = "peer"
#: Lives are drawn from as many numbers.
LIVES = 1 << 48


class LeaderlessNode:
    """A node of role ``leaderless``.

    Args:
        node_id: this node.
        members: the nodes the cluster was founded with; none for one that joins.
        seeds: nodes that one without a ring asks by itself, to join; none to wait for a client.
        rng: randomness, for the name of each life.
        clock: the node's clocks, of which the wall clock is for stamps.
        config: timings, quorums and limits.
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
        seeds: Sequence[NodeId] = (),
        parts: LeaderlessParts = LeaderlessParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node_id
        self.founders = tuple(sorted(members))
        self.seeds = tuple(seeds)
        self.config = config if config is not None else ClusterConfig()
        self._parts, self._rng, self._clock = parts, rng, clock
        self._now_ns = 0
        self._reset(Recovered(HardState(), None, []))

    def _reset(self, recovered: Recovered) -> None:
        config, parts = self.config, self._parts
        self._actors = parts.actors()
        self.actor = self._actors.actor(self.node, self._rng.between(1, LIVES))
        held = replay(recovered)
        memory = memory_of(held.memory, self.founders)
        self.states = ReplicaStates(
            recovered,
            held,
            self.node,
            memory.view,
            make_ring=partial(parts.ring, replicas=config.replicas),
            snapshot_records=config.snapshot_entries,
        )
        hard = recovered.hard_state
        self.stamps = make_stamps(parts, config, hard.generation, self._clock.wall_ns)
        self.group = GroupMembership(
            self.node, self.states.ring.members, config=config, rng=self._rng,
            parts=parts.group, durable=hard.adopted,
        )  # fmt: skip
        self.rules = make_rules(parts, self.node, self.stamps, self._next_dot)
        self.repair = parts.repair()
        self.handoff = parts.handoff(self.node, hints_max=config.hints_max)
        self.tombstones = parts.tombstones(grace_ns=config.tombstone_grace_ns)
        self.anti_entropy = parts.anti_entropy(every_ns=config.anti_entropy_ns)
        self.outgoing = Outgoing(self.states)
        self.store = QuorumStore(
            self.states,
            self.rules,
            config=config,
            repair=self.repair,
            handoff=self.handoff,
            alive=self.group.trusts,
            next_id=self.next_id,
        )
        self.side = ReplicaSide(
            self.states,
            rules=self.rules,
            stamps=self.stamps,
            group=self.group,
            outgoing=self.outgoing,
            next_id=self.next_id,
            is_busy=self.store.is_busy,
            actor=lambda: self.actor,
        )
        self.fence = parts.fence()
        self.ring_member = _ring_member_of(self, memory, parts, self._rng)
        #: what is asked is numbered anew in each life: late answers to an earlier one are dropped
        self._last_id = self._rng.between(1, LIVES)
        self._bounds: list[tuple[int, int]] = []
        self._timer_ns = 0

    def rename(self) -> None:
        """Keys were forgotten: later writes are counted under another name."""
        following = self._actors.actor(self.node, self._rng.between(1, LIVES))
        self.actor = self._actors.after_forgetting(self.actor, following)

    @property
    def members(self) -> tuple[NodeId, ...]:
        """All who take part in the ring, those before a change and those to come."""
        return self.states.ring.members

    @property
    def configuration(self) -> Configuration:
        """The ring as hosts know members; all whom gossip has heard of are among them."""
        view = self.states.ring.view
        others = [node for node in self.group.living if node not in view.members]
        return Configuration(view.members, tuple(others), view.before, (), view.retired)

    def _next_dot(self, state: KeyState) -> Dot:
        return Dot(self.actor, max(state.vector[self.actor], self.side.forgotten) + 1)

    def next_id(self) -> int:
        """A number for what is asked of others."""
        self._last_id += 1
        return self._last_id

    # -- what others may look at -------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """JSON-ready state; there is no leader, and no index is applied or committed."""
        return _status_of(self)

    def state_hash(self) -> str:
        """Hex digest of what this node holds; nodes of one key set are equal once they agree."""
        rows = b"".join(key.encode() + self.states.digest(key) for key in self.states.keys)
        return hashlib.blake2b(rows, digest_size=16).hexdigest()

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        """Begin, or begin again after a crash, from what is durable."""
        self._now_ns = now_ns
        self._reset(recovered)
        self.group.start(now_ns)
        self.ring_member.farewell(now_ns)
        self.anti_entropy.due_ns = now_ns + self.config.anti_entropy_ns
        return self._settle(now_ns)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> list[Effect]:
        """A peer's message arrived."""
        self._begin(now_ns)
        if isinstance(message, GossipMessage):
            self.group.receive(now_ns, source, message)
            self.ring_member.leader.heard(source, message.view)
        elif isinstance(message, StableView | RegisterMessage):
            self.ring_member.view(now_ns, source, message)
        elif isinstance(message, LeaderlessMessage):
            if self.stamps.observe(message.stamp):
                self.outgoing.inbox.append((source, message))
            else:
                self.side.dropped += 1
        return self._settle(now_ns)

    def on_tick(self, now_ns: int) -> list[Effect]:
        """The time asked for by the last SetTimer has come."""
        self._begin(now_ns)
        self.store.tick(now_ns)
        self.side.ask_about(now_ns, self.tombstones)
        if now_ns >= self.group.due_ns:
            self.group.tick(now_ns)
            self.side.hand_over(self.handoff)
            self.ring_member.round(now_ns)
        self.side.compare(now_ns, self.anti_entropy, self.handoff)
        return self._settle(now_ns)

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        """Every write up to and including ``io_id`` is durable."""
        self._begin(now_ns)
        while self._bounds and self._bounds[0][0] <= io_id:
            self.stamps.bound_durable(self._bounds.pop(0)[1])
        self.outgoing.persisted(io_id)
        return self._settle(now_ns)

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's request arrived on a connection."""
        self._begin(now_ns)
        waiter = Waiter(connection, request.id, now_ns + max(0, request.timeout_ns))
        if request.command.op in RING_OPS:
            answer = self.ring_member.take(now_ns, waiter, request.command)
            if answer is not None:
                args = request.command.args  # of a join that another node shall make
                self._answer(waiter, answer, leader=args[0] if answer[0] == "redirect" else "")
            return self._settle(now_ns)
        refused = _refusal(self, request)
        if refused is not None:
            self._answer(waiter, refused)
            return self._settle(now_ns)
        key = store_key(request.command)
        replicas = self.states.replicas(key)
        if self.node in replicas:
            self.store.take(now_ns, waiter, request, key)
        else:
            there = next((node for node in replicas if self.group.trusts(node)), replicas[0])
            said = f"{self.node} holds no key {request.command.key!r}"
            self._answer(waiter, ("redirect", None, said), leader=there)
        return self._settle(now_ns)

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        self._begin(now_ns)
        self.store.disconnect(connection)
        self.ring_member.requests.disconnect(connection)
        return self._settle(now_ns)

    def _begin(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self.store.acknowledged.clear()

    # -- requests and messages ---------------------------------------------------------------------

    def _step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """One message, of a peer or of this node."""
        if isinstance(message, StableView | RegisterMessage):
            self.ring_member.view(now_ns, source, message)
            return
        assert isinstance(message, LeaderlessMessage), f"{message} is no message of ours"
        own, theirs = self.states.ring.number, message.ring
        if source not in self.members or not self.fence.takes(theirs, own):
            self.ring_member.other_ring(source, theirs)
            return
        match message:
            case VersionsRead():
                self.side.tell(source, message)
            case VersionsHeld():
                state = decode_state(message.state)
                self.stamps.observe_read(stamp_of(state)[0])
                self.store.held(now_ns, source, message.id, state)
            case VersionsWrite():
                self.side.merge(source, message, self.handoff)
            case VersionsWritten():
                hint = self.side.handed_over(message.id, self.handoff)
                if not hint and not self.ring_member.given(message.id):
                    self.store.written(now_ns, source, message.id, message.hint_for)
            case RangeDigests() | RangeKeys() | KeysWanted():
                self.side.compared(source, message, self.anti_entropy)
            case ReapAsk() | ReapYes() | Reap():
                self.side.about_tombstone(source, message, self.tombstones)
            case KeysOwed() | KeysPage() | HandedOver() | ShallLeave():
                self.ring_member.data(now_ns, source, message)

    # -- what follows from an input ----------------------------------------------------------------

    def _put_question(self, ask: Ask) -> None:
        reading = self.stamps.reading
        message: Message = VersionsRead(reading, ask.id, ask.key)
        if ask.state is not None:
            state = encode_state(ask.state)
            message = VersionsWrite(reading, ask.id, ask.key, state, ask.hint_for)
        self.outgoing.send(ask.to, message)

    def _answer(self, waiter: Waiter, answer: Answer, leader: NodeId = "") -> None:
        status, value, error = answer
        reading = self.stamps.reading
        response = Response(waiter.request, status, value, reading, leader, error)
        self.outgoing.reply(Reply(waiter.connection, response))

    def _settle(self, now_ns: int) -> list[Effect]:
        """Take what this node said to itself; all effects, and a timer."""
        self._go_on(now_ns)
        while self.outgoing.inbox:
            self._step(now_ns, *self.outgoing.inbox.popleft())
            self._go_on(now_ns)
        answers, self.store.answers = self.store.answers, []
        answers += self.ring_member.requests.answers
        self.ring_member.requests.answers = []
        for waiter, answer in answers:
            self._answer(waiter, answer)
        bound = self.stamps.bound_wanted()
        if bound:
            self._bounds.append((self.states.reserve(bound), bound))
        self.outgoing.say(self.group)
        due_ns = min(
            self.store.due_ns, self.tombstones.due_ns, self.anti_entropy.due_ns, self.group.due_ns,
            self.ring_member.leader.due_ns, self.ring_member.requests.due_ns,
        )  # fmt: skip
        if not now_ns < self._timer_ns <= due_ns:
            self._timer_ns = max(due_ns, now_ns)
            self.outgoing.add(SetTimer(self._timer_ns))
        return self.outgoing.take()

    def _go_on(self, now_ns: int) -> None:
        """What one step has led to: the ring, what the store asks, what was written."""
        self.ring_member.go_on(now_ns)
        if self.ring_member.news:
            self.ring_member.news = False
            self.tombstones.ask_anew()
            self.side.ring_changed()
            self.store.ring_changed(now_ns)
            view = self.states.ring.view
            said = {"ring": view.id, "members": list(view.members), "before": list(view.before)}
            self.outgoing.add(Note("configuration", said))
        self._ask_all()

    def _ask_all(self) -> None:
        """Send what the store asks; follow what was written."""
        asks, self.store.asks = self.store.asks, []
        for ask in asks:
            self._put_question(ask)
        changed, self.states.changed = self.states.changed, []
        for key in changed:
            state = self.states.state(key)
            self.tombstones.changed(self._now_ns, key, is_tombstone=state.is_tombstone)


def _status_of(node: LeaderlessNode) -> dict[str, Any]:
    """A node's state, JSON-ready."""
    states = node.states
    return {
        "node": node.node,
        "role": PEER,
        "leader": "",
        "generation": node.stamps.reading,
        "high_water_mark": 0,
        "applied": 0,
        "first_index": states.snapshot_index + 1,
        "last_index": states.last_index,
        "snapshot_index": states.snapshot_index,
        "members": list(states.ring.view.members),
        "learners": [],
        "outgoing": list(states.ring.view.before),
        "retired": list(states.ring.view.retired),
        "ring": states.ring.number,
        "ring_leader": node.ring_member.proposer,
        "fetching": node.ring_member.fetching,
        "foreign": len(states.foreign()),
        "configuration_index": states.ring.number,
        "consensus": "",
        "replicas": node.config.replicas,
        "versions": node.config.versions,
        "actor": node.actor,
        "pending": len(node.store.operations),
        "keys": len(states),
        "tombstones": len(node.tombstones),
        "reaped": node.tombstones.reaped,
        "hints": len(states.hints),
        "repaired": node.repair.repaired,
        "dropped_messages": node.side.dropped,
        "alive": [member for member in node.members if node.group.trusts(member)],
        **status_of(node.group),
        "trees": {peer: tree.root().hex() for peer, tree in sorted(states.trees.items())},
    }


def _refusal(node: LeaderlessNode, request: Request) -> Answer | None:
    """Why a request is not taken; None if it is."""
    command = request.command
    wrong = node.rules.problem(command)
    if wrong:
        return fail(wrong)
    if request.mode not in MODES:
        return fail(f"role leaderless has no mode {request.mode!r}: {', '.join(MODES)}")
    if not node.stamps.observe_read(request.min_revision):
        return ("retry", None, f"the stamp {request.min_revision} is too far ahead")
    if not node.members:
        return ("retry", None, f"{node.node} is no member yet")
    if command.op not in READS:
        if request.seq < 1 or not request.session:
            return fail("a command that writes needs a session and a seq >= 1")
        problem = node.stamps.problem()
        if problem:
            return ("retry", None, problem)
    pending = len(node.store.operations)
    if pending >= node.config.pending_max:
        return ("retry", None, f"{pending} requests are waiting already")
    return None


def _ring_member_of(
    node: LeaderlessNode, memory: LeaderMemory, parts: LeaderlessParts, rng: Rng
) -> RingMember:
    """A node's part in the ring, made of its other parts."""
    config = node.config
    changes = make_changes(config, parts.changes)
    leader = parts.leader(
        node.node, incarnation=node.group.incarnation, memory=memory,
        round_ns=config.gossip_round_ns, rng=rng, succession=changes,
        attempt=parts.attempt, acceptor=parts.acceptor,
    )  # fmt: skip
    return RingMember(
        states=node.states, rules=node.rules, group=node.group, outgoing=node.outgoing,
        config=config, changes=changes, leader=leader, fetching=parts.fetching,
        seeds=node.seeds, rng=rng, next_id=node.next_id,
        reading=lambda: node.stamps.reading, renamed=node.rename,
    )  # fmt: skip


__all__ = ["LeaderlessNode", "LeaderlessParts"]
