"""Zab, the leader's side: a node that won an election, through discovery to broadcast.

Problem. A node that won an election is not yet a leader: the votes may be out of date, and its
followers' histories differ from its own. What it must do before, and in which order, is all of
Zab's safety.

Solution. One object for the time from the election to the end of the leadership, which goes through
three phases: discovery (``zab_discovery``), synchronisation (``zab_synchronisation``), broadcast.
From synchronisation on it owns a :class:`Leadership`, the same as in Raft, which sends entries,
counts copies, sends heartbeat rounds and confirms reads. In Zab's words an append is a PROPOSE, its
answer an ACK, a heartbeat a PING. In broadcast the leader also sends COMMIT as soon as the mark
rises, since a follower must not wait for the next proposal to learn of it.

The leader counts for itself only what it has made durable: its promise, its adopted history, its
entries. A follower that lost a message asks again; what a follower cannot ask for is repeated with
the answers to heartbeats.

Invariants. The leader proposes only when established. Each follower that serves has adopted the
history. COMMIT tells a follower of nothing above what it has acknowledged. A leader that does not
hear a quorum gives up: at once before it is established, by CheckQuorum afterwards.

What breaks without it. A67a, A67b, A67f, A67g, A67h: see the phases. A67i: what is committed without
a quorum is lost with the leader.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011), section 4. Owned by the Zab core, for one leadership.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from cluster.config import ClusterConfig
from cluster.consensus.fast_leader_election import FastLeaderElection, Position
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.leader_and_followers import Leadership
from cluster.consensus.majority_quorum import quorum_size
from cluster.consensus.membership_change import MembershipChange
from cluster.consensus.read_index import ReadIndex as Reads
from cluster.consensus.replication import Replication
from cluster.consensus.zab_discovery import Discovery, Promises
from cluster.consensus.zab_node import ZabNode
from cluster.consensus.zab_synchronisation import SNAP, TRUNC, Synchronisation
from cluster.ports import NodeId
from cluster.wire import (
    AckEpoch,
    AckNewLeader,
    AppendReply,
    CEpoch,
    HeartbeatReply,
    Message,
    NewEpoch,
    NewLeader,
    ReadIndex,
    ReadIndexReply,
    SnapshotReply,
    Truncate,
    UpToDate,
    ZabCommit,
)


class LeadingParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes that the leader's side is made of."""

    discovery: type[Discovery] = Discovery
    synchronisation: type[Synchronisation] = Synchronisation
    replication: type[Replication] = Replication
    rounds: type[HeartbeatRounds] = HeartbeatRounds
    reads: type[Reads] = Reads
    change: type[MembershipChange] = MembershipChange


#: Answers that show how much of the history a follower has.
_PROGRESS: Final = (AppendReply, SnapshotReply)


class ZabLeading:
    """From a won election to the end of the leadership.

    After each call the owner looks at :attr:`over`.

    Args:
        node: the parts of the node.
        promises: how the node promises an epoch, to itself too.
        election: for how recent a history is, and for timeouts.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        node: ZabNode,
        promises: Promises,
        election: FastLeaderElection,
        *,
        parts: LeadingParts,
    ) -> None:
        self.over = False
        self.discovery = parts.discovery()
        self.synchronisation: Synchronisation | None = None
        self.leadership: Leadership | None = None
        self._node = node
        self._promises = promises
        self._election = election
        self._parts = parts
        self._gives_up_ns = 0
        #: where the log of each follower ends, as it told in this epoch: (generation, index)
        self._ends: dict[NodeId, tuple[int, int]] = {}
        #: the mark that each follower was told with COMMIT
        self._told: dict[NodeId, int] = {}
        self._handlers: dict[type, Callable[[int, NodeId, Any], None]] = {
            CEpoch: self._on_cepoch,
            AckEpoch: self._on_ack_epoch,
            AckNewLeader: self._on_ack_new_leader,
        }

    # -- what the owner looks at -------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch of this leadership; 0 until it is chosen."""
        return self.discovery.epoch

    @property
    def established(self) -> bool:
        """Whether broadcast has begun."""
        return self.synchronisation is not None and self.synchronisation.established

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.leadership.deadline_ns if self.leadership else self._gives_up_ns

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """Wait for those that want to follow; this node is the first."""
        self._gives_up_ns = now_ns + self._election.patience_ns()
        self.discovery.heard(self._node.name, self._node.clock.generation)
        self._choose_epoch(now_ns)

    def end(self, generation: int) -> None:
        """Leadership is lost: no read can be confirmed any more."""
        if self.leadership is not None:
            self.leadership.end(generation)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A follower's message: of this epoch, or one that wants to follow."""
        if self.leadership is not None:
            self.leadership.rounds.heard(source, now_ns)
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(now_ns, source, message)
        elif self.leadership is not None:
            self._to_leadership(now_ns, source, message, self.leadership)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, and whether there is any point in going on."""
        leadership = self.leadership
        if leadership is None:
            self.over = now_ns >= self._gives_up_ns
            return
        if not self.established and not self._is_heard(now_ns, leadership):
            self.over = True
            return
        leadership.tick(now_ns)
        self._after_leadership(leadership)

    def persisted(self, now_ns: int) -> None:
        """Something is durable: perhaps what this node promised, adopted or proposed."""
        node = self._node
        if self.epoch and node.is_durable():
            if self.synchronisation is None:
                self._promised(now_ns, node.name)
            else:
                self._adopts(now_ns, node.name)
        if self.leadership is not None:
            self.leadership.advance(now_ns)
            self._after_leadership(self.leadership)

    # -- discovery ---------------------------------------------------------------------------------

    def _on_cepoch(self, now_ns: int, source: NodeId, message: CEpoch) -> None:
        self.discovery.heard(source, message.generation)
        self._ends.pop(source, None)
        if self.synchronisation is not None:
            self.synchronisation.begins(source)
        if self.epoch:
            self._ask(source)
        else:
            self._choose_epoch(now_ns)

    def _choose_epoch(self, now_ns: int) -> None:
        node = self._node
        led = node.clock.generation if node.clock.voted_for == node.name else 0
        if not self.discovery.choose(node.electorate(), led):
            return
        promised = self._promises.make(node.clock, self.epoch, node.name, node.writes)
        assert promised, f"{node.name} cannot promise epoch {self.epoch} to itself"
        node.outbox.note("epoch-proposed", epoch=self.epoch)
        for peer in self.discovery.accepted:
            if peer != node.name:
                self._ask(peer)
        self.persisted(now_ns)

    def _ask(self, peer: NodeId) -> None:
        writes = self._node.writes
        self._node.outbox.send(peer, NewEpoch(self.epoch), after=writes.after_hard_state)

    def _on_ack_epoch(self, now_ns: int, source: NodeId, message: AckEpoch) -> None:
        if message.generation != self.epoch:
            return
        self._ends[source] = message.last_generation, message.last_index
        if self.synchronisation is not None:
            self._bring_in_line(now_ns, source)
        elif message.promised:
            theirs = Position(message.current, message.last_generation, message.last_index)
            recency = self._election.recency
            if self.discovery.gives_up(recency(theirs), recency(self._node.position())):
                self._node.outbox.note("follower-ahead", epoch=self.epoch, follower=source)
                self.over = True
                return
            self._promised(now_ns, source)

    def _promised(self, now_ns: int, node: NodeId) -> None:
        self.discovery.promised[node] = True
        if self.synchronisation is None and self.discovery.done(self._node.electorate()):
            self._begin_synchronisation(now_ns)

    # -- synchronisation ---------------------------------------------------------------------------

    def _begin_synchronisation(self, now_ns: int) -> None:
        """A quorum has promised: this node's log is the history, and it adopts it."""
        node = self._node
        self.synchronisation = self._parts.synchronisation(node.log)
        self.leadership = self._make_leadership(now_ns, self.synchronisation.index)
        node.clock.adopt(self.epoch)
        node.writes.hard_state(node.clock.hard_state())
        node.outbox.note("synchronising", epoch=self.epoch, index=self.synchronisation.index)
        self.leadership.send_round(now_ns)
        for peer in self._ends:
            self._bring_in_line(now_ns, peer)
        self._establish_if_possible(now_ns)

    def _make_leadership(self, now_ns: int, history: int) -> Leadership:
        node, parts, peers = self._node, self._parts, self._node.peers()
        replication = parts.replication(
            node.name, self.epoch, node.log, peers, config=node.config, now_ns=now_ns
        )
        for peer in peers:
            replication.bound(peer, -1)
        return Leadership(
            node.name,
            self.epoch,
            config=node.config,
            log=node.log,
            writes=node.writes,
            mark=node.mark,
            membership=node.membership,
            snapshots=node.snapshots,
            replication=replication,
            rounds=parts.rounds(node.name, peers, config=node.config, now_ns=now_ns),
            reads=parts.reads(max(1, history)),
            change=parts.change(history, config=node.config),
            outbox=node.outbox,
        )

    def _bring_in_line(self, now_ns: int, peer: NodeId) -> None:
        """Find where a follower's log agrees with the history, and send what it lacks."""
        leadership, synchronisation = self.leadership, self.synchronisation
        assert leadership is not None and synchronisation is not None
        replication, (generation, index) = leadership.replication, self._ends[peer]
        if peer not in replication.pipelines or peer in synchronisation.announced:
            return
        way = synchronisation.way(self._node.log, generation, index)
        if way == TRUNC:
            synchronisation.truncates(peer, self._node.log, generation, index)
            self._cut_off(peer)
            return
        synchronisation.truncations.pop(peer, None)
        agreed = None if way == SNAP else min(index, self._node.log.last_index)
        replication.begin_at(peer, agreed, now_ns)
        if synchronisation.takes_proposals(peer):
            replication.unbound(peer)
        else:
            replication.bound(peer, synchronisation.index)
        leadership.advance(now_ns)  # what the follower has may be what was missing to a quorum
        leadership.send_missing(now_ns, peer)
        self._announce(peer)

    def _cut_off(self, peer: NodeId) -> None:
        assert self.synchronisation is not None
        generation, index = self.synchronisation.truncations[peer]
        self._node.outbox.send(peer, Truncate(self.epoch, generation, index))

    def _announce(self, peer: NodeId) -> None:
        """Ask a follower to adopt the history, once it has all of it."""
        leadership, synchronisation = self.leadership, self.synchronisation
        assert leadership is not None and synchronisation is not None
        placed = peer in self._ends and peer not in synchronisation.truncations
        if placed and leadership.replication.match(peer) >= synchronisation.index:
            if synchronisation.has_history(peer):
                self._ask_to_adopt(peer, synchronisation)

    def _ask_to_adopt(self, peer: NodeId, synchronisation: Synchronisation) -> None:
        self._node.outbox.send(peer, NewLeader(self.epoch, synchronisation.index))

    def _on_ack_new_leader(self, now_ns: int, source: NodeId, message: AckNewLeader) -> None:
        if message.generation == self.epoch and self.synchronisation is not None:
            self._adopts(now_ns, source)

    def _adopts(self, now_ns: int, source: NodeId) -> None:
        leadership, synchronisation = self.leadership, self.synchronisation
        assert leadership is not None and synchronisation is not None
        synchronisation.adopts(source)
        if source in leadership.replication.pipelines:
            leadership.replication.unbound(source)
        if not synchronisation.established:
            self._establish_if_possible(now_ns)
        elif source != self._node.name:
            self._tell_up_to_date(source)
            leadership.send_missing(now_ns, source)

    def _establish_if_possible(self, now_ns: int) -> None:
        """Commit the history and serve, if a quorum has adopted it."""
        synchronisation, node = self.synchronisation, self._node
        assert synchronisation is not None
        if not synchronisation.may_establish(node.electorate()):
            return
        synchronisation.established = True
        generation, index = synchronisation.history
        node.mark.advance(index, node.log, generation)
        node.outbox.note("leader-elected", generation=self.epoch, index=index)
        for peer in synchronisation.adopted:
            if peer != node.name:
                self._tell_up_to_date(peer)
        if not index:
            self._begin_log(now_ns)

    def _begin_log(self, now_ns: int) -> None:
        """The first epoch of all: a read needs an index at which it is linearizable."""
        assert self.leadership is not None
        self.leadership.append(now_ns, (b"",), "noop")

    def _tell_up_to_date(self, peer: NodeId) -> None:
        assert self.leadership is not None
        mark = min(self._node.mark.index, self.leadership.replication.match(peer))
        self._told[peer] = mark
        self._node.outbox.send(peer, UpToDate(self.epoch, mark))

    # -- broadcast ---------------------------------------------------------------------------------

    def _to_leadership(
        self, now_ns: int, source: NodeId, message: Message, leadership: Leadership
    ) -> None:
        if isinstance(message, ReadIndex) and not self.established:
            node = self._node
            answer = ReadIndexReply(self.epoch, message.id, 0)
            node.outbox.send(source, answer, after=node.writes.after_hard_state)
            return
        leadership.on_message(now_ns, source, message)
        if isinstance(message, _PROGRESS):
            self._announce(source)
        elif isinstance(message, HeartbeatReply):
            self._repeat(source)
        self._after_leadership(leadership)

    def _repeat(self, peer: NodeId) -> None:
        """A follower lives: what it cannot ask for may have been lost."""
        synchronisation = self.synchronisation
        assert synchronisation is not None
        if peer in synchronisation.truncations:
            self._cut_off(peer)
        elif peer in synchronisation.announced and peer not in synchronisation.adopted:
            self._ask_to_adopt(peer, synchronisation)

    def _after_leadership(self, leadership: Leadership) -> None:
        self.over |= leadership.over
        synchronisation = self.synchronisation
        if synchronisation is None or not synchronisation.established:
            return
        mark, told = self._node.mark.index, self._told
        for peer, before in told.items():
            known = min(mark, leadership.replication.match(peer))
            if known > before:
                told[peer] = known
                self._node.outbox.send(peer, ZabCommit(self.epoch, known))

    def _is_heard(self, now_ns: int, leadership: Leadership) -> bool:
        """Whether a quorum was heard lately, this node included."""
        voters = self._node.electorate().voters
        heard = sum(leadership.rounds.is_heard(voter, now_ns) for voter in voters)
        return heard >= quorum_size(len(voters))
