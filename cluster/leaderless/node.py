"""A node of role ``leaderless``: keys on N nodes, any of which takes reads and writes.

It implements :class:`cluster.ports.Core`. Nobody leads and there is no log: what a node holds of a
key is a state that can be merged with any other, and all that nodes send each other is states to be
merged, and questions about them.

    client --> quorum store ==read, write==> replicas of the key (this node is one of them)
                   |    ^                        |
              hints for those              states by key --> records --> storage
              who are away                       |
                                  anti-entropy, tombstones

How versions are ordered is ``ClusterConfig.versions``: dotted version vectors, which keep what is
concurrent, or stamps, of which the highest wins. Requests are those of
``cluster.leaderless.commands``; ``Request.mode`` is ``quorum`` (or ``linearizable``, the clients'
default) or ``one``. Members are those of the founding, watched by their messages.

Invariants. What this node says of a state is durable first, to itself too. An actor, which names the
node's writes, is of one life of the node. A message whose stamp the clock does not accept is dropped.

What breaks without it. A35c: an actor that is the node's name, whichever life.

Source: DeCandia et al., "Dynamo" (2007); Joshi, "Version Vector", "Gossip Dissemination". Attributes
without underscore may be read for invariants, never written.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cluster.channel.request_waiting_list import Waiter
from cluster.clocks.hybrid_clock import HybridClock
from cluster.clocks.lamport_clock import LamportClock
from cluster.clocks.version_vector import Dot, DottedVersions, KeyState
from cluster.config import ClusterConfig
from cluster.core.answers import Answer, fail
from cluster.leaderless.anti_entropy import AntiEntropy
from cluster.leaderless.commands import DottedRules, LastWriterRules, Rules, store_key
from cluster.leaderless.hinted_handoff import HintedHandoff
from cluster.leaderless.last_writer_wins import LastWriterWins, stamp_of
from cluster.leaderless.members import StaticMembers
from cluster.leaderless.operations import MODES, READS
from cluster.leaderless.quorum_store import Ask, QuorumStore
from cluster.leaderless.read_repair import ReadRepair
from cluster.leaderless.replica_states import ReplicaStates, decode_state, encode_state
from cluster.leaderless.stamps import HybridStamps, LamportStamps, NoStamps, Stamps, WallStamps
from cluster.leaderless.tombstones import Tombstones
from cluster.log.storage import Storage
from cluster.ports import Effect, NodeId, Recovered, Reply, Rng, Send, SetTimer
from cluster.wire import (
    HardState,
    Heartbeat,
    KeysWanted,
    LeaderlessMessage,
    Message,
    RangeDigests,
    RangeKeys,
    Reap,
    ReapAsk,
    ReapYes,
    Request,
    Response,
    VersionsHeld,
    VersionsRead,
    VersionsWrite,
    VersionsWritten,
)

#: What such a node is, in its status.
PEER = "peer"
#: Lives are drawn from as many numbers.
LIVES = 1 << 48


class ActorIds:
    """The names under which a node's writes are counted."""

    def actor(self, node: NodeId, life: int) -> str:
        """Decision: the actor of one life of a node, which no other life has."""
        return f"{node}.{life:x}"


class LeaderlessParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes of a node of role ``leaderless``, and of the storage its host gives it."""

    versions: type[DottedVersions] = DottedVersions
    last_writer: type[LastWriterWins] = LastWriterWins
    lamport: type[LamportClock] = LamportClock
    hybrid: type[HybridClock] = HybridClock
    actors: type[ActorIds] = ActorIds
    repair: type[ReadRepair] = ReadRepair
    handoff: type[HintedHandoff] = HintedHandoff
    anti_entropy: type[AntiEntropy] = AntiEntropy
    tombstones: type[Tombstones] = Tombstones
    storage: type[Storage] = Storage


class LeaderlessNode:
    """A node of role ``leaderless``.

    Args:
        node_id: this node.
        members: the nodes the cluster was founded with.
        rng: randomness, for the name of each life.
        config: timings, quorums and limits.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        node_id: NodeId,
        members: Sequence[NodeId],
        *,
        rng: Rng,
        config: ClusterConfig | None = None,
        parts: LeaderlessParts = LeaderlessParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node_id
        self.members = tuple(sorted(members))
        self.config = config if config is not None else ClusterConfig()
        self._parts, self._rng = parts, rng
        self._now_ns = 0
        self._wall: Callable[[], int] = lambda: self._now_ns
        self._reset(Recovered(HardState(), None, []))

    def use_wall_clock(self, wall_ns: Callable[[], int]) -> None:
        """The host's wall clock, before the start; without one it is the monotonic clock."""
        self._wall = wall_ns

    def _reset(self, recovered: Recovered) -> None:
        config, parts = self.config, self._parts
        replicas = min(config.replicas, len(self.members)) or 1
        self.actor = parts.actors().actor(self.node, self._rng.between(1, LIVES))
        self.states = ReplicaStates(
            recovered,
            self.node,
            self.members,
            replicas=replicas,
            snapshot_records=config.snapshot_entries,
        )
        self.stamps = self._make_stamps(recovered.hard_state.generation)
        self.seen = StaticMembers(self.node, self.members, suspect_ns=config.suspect_ns)
        self.rules = self._make_rules()
        self.repair = parts.repair()
        self.handoff = parts.handoff(self.node, hints_max=config.hints_max)
        self.tombstones = parts.tombstones(self.members, grace_ns=config.tombstone_grace_ns)
        peers = [member for member in self.members if member != self.node]
        self.anti_entropy = parts.anti_entropy(peers, every_ns=config.anti_entropy_ns)
        self.store = QuorumStore(
            self.states,
            self.rules,
            config=config,
            repair=self.repair,
            handoff=self.handoff,
            alive=self.seen.alive,
            next_id=self._next_id,
        )
        self._last_id = 0
        #: hints under way: id -> (node it is for, key, what was sent)
        self._handed: dict[int, tuple[NodeId, str, KeyState]] = {}
        #: own dots that forgotten tombstones had: their numbers are not used again
        self._forgotten = 0
        self._bounds: list[tuple[int, int]] = []
        self._durable = 0
        self._own: list[tuple[int, Message]] = []
        self._inbox: deque[tuple[NodeId, Message]] = deque()
        self._beat_ns = self._timer_ns = 0
        self.dropped = 0
        self._out: list[Effect] = []

    def _make_stamps(self, bound: int) -> Stamps:
        match self.config.versions:
            case "lww-lamport":
                return LamportStamps(self._parts.lamport(bound))
            case "lww-hybrid":
                offset_ns = self.config.clock_offset_max_ns
                clock = self._parts.hybrid(max_offset_ns=offset_ns, durable_ns=bound)
                return HybridStamps(clock, lambda: self._wall())
            case "lww-wall":
                return WallStamps(lambda: self._wall())
        return NoStamps()

    def _make_rules(self) -> Rules:
        if self.config.versions == "dotted":
            return DottedRules(self._parts.versions(), self._next_dot)
        return LastWriterRules(self._parts.last_writer(), self.node, self.stamps)

    def _next_dot(self, state: KeyState) -> Dot:
        return Dot(self.actor, max(state.vector[self.actor], self._forgotten) + 1)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # -- what others may look at -------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """JSON-ready state; there is no leader, and no index is applied or committed."""
        states = self.states
        return {
            "node": self.node,
            "role": PEER,
            "leader": "",
            "generation": self.stamps.reading,
            "high_water_mark": 0,
            "applied": 0,
            "first_index": states.snapshot_index + 1,
            "last_index": states.last_index,
            "snapshot_index": states.snapshot_index,
            "members": list(self.members),
            "learners": [],
            "outgoing": [],
            "configuration_index": 0,
            "consensus": "",
            "versions": self.config.versions,
            "actor": self.actor,
            "pending": len(self.store.operations),
            "keys": len(states),
            "tombstones": len(self.tombstones),
            "reaped": self.tombstones.reaped,
            "hints": len(states.hints),
            "repaired": self.repair.repaired,
            "dropped_messages": self.dropped,
            "alive": [member for member in self.members if self.seen.alive(member)],
            "trees": {peer: tree.root().hex() for peer, tree in sorted(states.trees.items())},
        }

    def state_hash(self) -> str:
        """Hex digest of what this node holds; nodes of one key set are equal once they agree."""
        rows = b"".join(key.encode() + self.states.digest(key) for key in self.states.keys)
        return hashlib.blake2b(rows, digest_size=16).hexdigest()

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        """Begin, or begin again after a crash, from what is durable."""
        self._now_ns = now_ns
        self._reset(recovered)
        self.seen.at(now_ns)
        self.anti_entropy.due_ns = now_ns + self.config.anti_entropy_ns
        return self._settle(now_ns)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> list[Effect]:
        """A peer's message arrived."""
        self._begin(now_ns)
        if source in self.members and isinstance(message, LeaderlessMessage | Heartbeat):
            stamp = message.generation
            if self.stamps.observe(stamp):
                self.seen.heard(now_ns, source)
                self._inbox.append((source, message))
            else:
                self.dropped += 1
        return self._settle(now_ns)

    def on_tick(self, now_ns: int) -> list[Effect]:
        """The time asked for by the last SetTimer has come."""
        self._begin(now_ns)
        self.store.tick(now_ns)
        self._ask_about_tombstones(now_ns)
        if now_ns >= self._beat_ns:
            self._beat_ns = now_ns + self.config.heartbeat_ns
            for member in self.members:
                if member != self.node:
                    self._send(member, Heartbeat(self.stamps.reading, 0, 0), 0)
            self._hand_over()
        self._compare(now_ns)
        return self._settle(now_ns)

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        """Every write up to and including ``io_id`` is durable."""
        self._begin(now_ns)
        assert io_id >= self._durable, f"write {io_id} is durable after {self._durable}"
        self._durable = io_id
        while self._bounds and self._bounds[0][0] <= io_id:
            self.stamps.bound_durable(self._bounds.pop(0)[1])
        own, self._own = self._own, []
        for after, message in own:
            self._send(self.node, message, after)
        return self._settle(now_ns)

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's request arrived on a connection."""
        self._begin(now_ns)
        waiter = Waiter(connection, request.id, now_ns + max(0, request.timeout_ns))
        refused = self._refusal(request)
        if refused is not None:
            self._answer(waiter, refused)
            return self._settle(now_ns)
        key = store_key(request.command)
        replicas = self.states.replicas(key)
        if self.node in replicas:
            self.store.take(now_ns, waiter, request, key)
        else:
            there = next((node for node in replicas if self.seen.alive(node)), replicas[0])
            said = f"{self.node} holds no key {request.command.key!r}"
            self._answer(waiter, ("redirect", None, said), leader=there)
        return self._settle(now_ns)

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        self._begin(now_ns)
        self.store.disconnect(connection)
        return self._settle(now_ns)

    def _begin(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self.seen.at(now_ns)
        self.store.acknowledged.clear()

    # -- requests ----------------------------------------------------------------------------------

    def _refusal(self, request: Request) -> Answer | None:
        """Why a request is not taken; None if it is."""
        command = request.command
        wrong = self.rules.problem(command)
        if wrong:
            return fail(wrong)
        if request.mode not in MODES:
            return fail(f"role leaderless has no mode {request.mode!r}: {', '.join(MODES)}")
        if not self.stamps.observe_read(request.min_revision):
            return ("retry", None, f"the stamp {request.min_revision} is too far ahead")
        if command.op not in READS:
            if request.seq < 1 or not request.session:
                return fail("a command that writes needs a session and a seq >= 1")
            problem = self.stamps.problem()
            if problem:
                return ("retry", None, problem)
        pending = len(self.store.operations)
        if pending >= self.config.pending_max:
            return ("retry", None, f"{pending} requests are waiting already")
        return None

    # -- messages ----------------------------------------------------------------------------------

    def _step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """One message, of a peer or of this node."""
        match message:
            case VersionsRead():
                self._tell(source, message)
            case VersionsHeld():
                state = decode_state(message.state)
                self.stamps.observe_read(stamp_of(state)[0])
                self.store.held(now_ns, source, message.id, state)
            case VersionsWrite():
                self._merge(source, message)
            case VersionsWritten():
                self._written(now_ns, source, message)
            case RangeDigests() | RangeKeys() | KeysWanted():
                self._compared(source, message)
            case ReapAsk() | ReapYes() | Reap():
                self._about_tombstone(source, message)

    def _tell(self, source: NodeId, message: VersionsRead) -> None:
        state = encode_state(self.states.state(message.key))
        held = VersionsHeld(self.stamps.reading, message.id, message.key, state)
        self._send(source, held, self.states.durable_after(message.key))

    def _merge(self, source: NodeId, message: VersionsWrite) -> None:
        """Merge a peer's state, or keep it for another node; and say so."""
        state, key = decode_state(message.state), message.key
        if not self.stamps.observe(stamp_of(state)[0]):
            self.dropped += 1
            return
        if message.hint_for:
            after = self._keep_hint(message.hint_for, key, state)
        elif self.node in self.states.replicas(key):
            after = self.states.put(key, self.rules.merge(self.states.state(key), state))
        else:
            return
        if message.id and after >= 0:
            done = VersionsWritten(self.stamps.reading, message.id, key, message.hint_for)
            self._send(source, done, after)

    def _keep_hint(self, target: NodeId, key: str, state: KeyState) -> int:
        """Keep a state for a node; the write to wait for, -1 if there is no room."""
        kept = self.states.hints.get((target, key))
        if kept is None and not self.handoff.has_room(len(self.states.hints)):
            return -1
        self.handoff.arrived(target, key)
        merged = state if kept is None else self.rules.merge(kept, state)
        return self.states.keep_hint(target, key, merged)

    def _written(self, now_ns: int, source: NodeId, message: VersionsWritten) -> None:
        handed = self._handed.pop(message.id, None)
        if handed is None:
            self.store.written(now_ns, source, message.id, message.hint_for)
            return
        target, key, sent = handed
        self.handoff.arrived(target, key)
        if self.states.hints.get((target, key)) == sent:
            self.states.drop_hint(target, key)

    def _hand_over(self) -> None:
        """Send hints to the nodes they are for, as far as those are there."""
        for target, key in self.handoff.due(self.states.hints, self.seen.alive):
            state, id = self.states.hints[target, key], self._next_id()
            self._handed[id] = (target, key, state)
            self._send_state(target, key, state, id)

    def _send_state(self, to: NodeId, key: str, state: KeyState, id: int = 0) -> None:
        """A state for a peer to merge; it need not be durable here to be durable there."""
        self._send(to, VersionsWrite(self.stamps.reading, id, key, encode_state(state)), 0)

    # -- anti-entropy ------------------------------------------------------------------------------

    def _compare(self, now_ns: int) -> None:
        peer = self.anti_entropy.next_peer(now_ns)
        if peer is not None:
            self.handoff.ask_again()
            self._handed.clear()
            digests = self.states.trees[peer].children()
            self._send(peer, RangeDigests(self.stamps.reading, (), digests), 0)

    def _compared(self, source: NodeId, message: RangeDigests | RangeKeys | KeysWanted) -> None:
        tree, reading = self.states.trees[source], self.stamps.reading
        if isinstance(message, KeysWanted):
            self._send_states(source, message.keys)
        elif isinstance(message, RangeKeys):
            send, want = self.anti_entropy.to_send(tree, message.path, message.rows)
            self._send_states(source, send)
            if want:
                self._send(source, KeysWanted(reading, tuple(want)), 0)
        else:
            for path in self.anti_entropy.differing(tree, message.path, message.digests):
                if self.anti_entropy.is_range(path):
                    rows = tuple(sorted(tree.rows(path).items()))
                    self._send(source, RangeKeys(reading, path, rows), 0)
                else:
                    self._send(source, RangeDigests(reading, path, tree.children(path)), 0)

    def _send_states(self, to: NodeId, keys: Sequence[str]) -> None:
        for key in keys:
            if self.states.digest(key) and to in self.states.replicas(key):
                self._send_state(to, key, self.states.state(key))

    # -- tombstones --------------------------------------------------------------------------------

    def _ask_about_tombstones(self, now_ns: int) -> None:
        for key in self.tombstones.to_ask(now_ns):
            if self.states.replicas(key)[0] == self.node:
                digest = self.states.digest(key)
                self.tombstones.ask(key, digest)
                for member in self.members:
                    self._send(member, ReapAsk(self.stamps.reading, key, digest), 0)

    def _about_tombstone(self, source: NodeId, message: ReapAsk | ReapYes | Reap) -> None:
        key, digest = message.key, message.digest
        if isinstance(message, ReapYes):
            if self.tombstones.confirm(key, digest, source):
                for member in self.members:
                    self._send(member, Reap(self.stamps.reading, key, digest), 0)
        elif not self._holds_nothing_older(key, digest):
            return
        elif isinstance(message, ReapAsk):
            yes = ReapYes(self.stamps.reading, key, digest)
            self._send(source, yes, self.states.durable_after(key))
        elif self.states.digest(key):
            self._forgotten = max(self._forgotten, self.states.state(key).vector[self.actor])
            self.states.reap(key)
            self.tombstones.reap(key)

    def _holds_nothing_older(self, key: str, digest: bytes) -> bool:
        """Whether this node holds just this of a key, if it is a replica of it, and nothing else."""
        held = self.states.digest(key)
        matches = held == digest if self.node in self.states.replicas(key) else not held
        hinted = any(hinted == key for _, hinted in self.states.hints)
        return matches and not hinted and not self.store.is_busy(key)

    # -- what follows from an input ----------------------------------------------------------------

    def _send(self, to: NodeId, message: Message, after: int) -> None:
        """Send, once a write is durable; what this node says to itself waits here."""
        self._out.extend(self.states.take_writes())
        if to != self.node:
            self._out.append(Send(to, message, after))
        elif after <= self._durable:
            self._inbox.append((to, message))
        else:
            self._own.append((after, message))

    def _put_question(self, ask: Ask) -> None:
        reading = self.stamps.reading
        if ask.state is None:
            self._send(ask.to, VersionsRead(reading, ask.id, ask.key), 0)
            return
        state = encode_state(ask.state)
        self._send(ask.to, VersionsWrite(reading, ask.id, ask.key, state, ask.hint_for), 0)

    def _answer(self, waiter: Waiter, answer: Answer, leader: NodeId = "") -> None:
        status, value, error = answer
        reading = self.stamps.reading
        response = Response(waiter.request, status, value, reading, leader, error)
        self._out.append(Reply(waiter.connection, response))

    def _reserve_stamps(self) -> None:
        bound = self.stamps.bound_wanted()
        if bound:
            self._bounds.append((self.states.reserve(bound), bound))

    def _settle(self, now_ns: int) -> list[Effect]:
        """Take what this node said to itself; all effects, and a timer."""
        self._ask_all()
        while self._inbox:
            self._step(now_ns, *self._inbox.popleft())
            self._ask_all()
        answers, self.store.answers = self.store.answers, []
        for waiter, answer in answers:
            self._answer(waiter, answer)
        self._reserve_stamps()
        self._out.extend(self.states.take_writes())
        due_ns = min(
            self.store.due_ns, self.tombstones.due_ns, self.anti_entropy.due_ns, self._beat_ns
        )
        if not now_ns < self._timer_ns <= due_ns:
            self._timer_ns = max(due_ns, now_ns)
            self._out.append(SetTimer(self._timer_ns))
        effects, self._out = self._out, []
        return effects

    def _ask_all(self) -> None:
        """Send what the store asks; follow what was written."""
        asks, self.store.asks = self.store.asks, []
        for ask in asks:
            self._put_question(ask)
        changed, self.states.changed = self.states.changed, []
        for key in changed:
            state = self.states.state(key)
            self.tombstones.changed(self._now_ns, key, is_tombstone=state.is_tombstone)
