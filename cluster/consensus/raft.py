"""Raft: consensus on a replicated log, composed of the pattern modules beside it.

This core decides who leads, what the log holds, what of it is committed, and at which index a read
is linearizable. It knows nothing of clients, sessions or the state machine. It owns these parts,
each described with its reasons in the module of its pattern, and each usable by other cores:

    node         log_node              the parts that outlive a leadership:
        clock        generation_clock      the generation, and the one vote in it
        log, writes  replicated_log        the entries; what of them is durable
        mark         high_water_mark       what is committed
        membership   membership            who votes, by the log
        snapshots    install_snapshot      the newest snapshot, and one that arrives
        repair       damage_repair         whether the disk lost something that was promised
    election     election              timer, PreVote, votes
    following    leader_and_followers  the follower's side: entries, marks and snapshots taken
    serving      leader_and_followers  the leader's side, while this node leads; composed of
                                       replication, leader_rounds (heartbeat, read_index),
                                       handover, membership_change

A message goes through :meth:`Raft.step`. The generation clock judges it first. Then it goes to the
leader's side, if this node leads, or to the follower's side. Raft itself decides which of the two
this node is: it holds the elections.

Decisions are small methods of the parts (``standing``, ``grants_vote``, ``may_commit``,
``read_is_safe``). An ablation replaces one of them in a subclass of its part, and
:class:`RaftParts` names the classes a node is made of.

Durability order. A vote, a refusal that carries a new generation and an acknowledgement leave with
``after`` naming the write they depend on. A candidate asks for votes only once its own is durable.
A leader counts its own log only as far as it is durable. Heartbeats and their answers depend on no
write of entries.

Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014); Ongaro's
thesis (2014); the async storage design of etcd's raft. Behind ``interface.Consensus``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from cluster.channel.request_pipeline import RequestPipeline
from cluster.clocks.generation_clock import FUTURE, PAST, GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.election import Election
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots
from cluster.consensus.interface import Consensus
from cluster.consensus.leader_and_followers import (
    CANDIDATE,
    FOLLOWER,
    FROM_LEADERS,
    LEADER,
    LEARNER,
    Following,
    Leadership,
)
from cluster.consensus.log_node import LogNode
from cluster.consensus.member_directories import MemberDirectories
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, MembershipChange, Refusal
from cluster.consensus.read_index import ReadIndex
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.replication import Replication
from cluster.ports import NodeId, Recovered, Rng
from cluster.wire import (
    Message,
    ReadIndexReply,
    Recovering,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from cluster.wire import ReadIndex as ReadIndexRequest

#: What a node takes from any sender: its own configuration may be an old one, and a leader or
#: candidate of a newer one must get through. Answers are taken from members only.
_FROM_ANY_NODE = frozenset({RequestVote, TimeoutNow, *FROM_LEADERS})


class RaftParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes a Raft node is made of; each may be replaced by a subclass."""

    #: whether a node with a damaged disk is repaired from its peers
    repairs_damage: ClassVar[bool] = True
    #: what an operator may ask for; a variant that cannot do it has no such attribute
    changes_members: ClassVar[bool] = True
    hands_over: ClassVar[bool] = True

    clock: type[GenerationClock] = GenerationClock
    log: type[ReplicatedLog] = ReplicatedLog
    writes: type[WriteOrder] = WriteOrder
    mark: type[HighWaterMark] = HighWaterMark
    membership: type[Membership] = Membership
    election: type[Election] = Election
    snapshots: type[Snapshots] = Snapshots
    repair: type[DamageRepair] = DamageRepair
    replication: type[Replication] = Replication
    pipeline: type[RequestPipeline] = RequestPipeline
    rounds: type[HeartbeatRounds] = HeartbeatRounds
    reads: type[ReadIndex] = ReadIndex
    change: type[MembershipChange] = MembershipChange
    directories: type[MemberDirectories] = MemberDirectories

    def build(
        self, node: NodeId, members: Sequence[NodeId], *, config: ClusterConfig, rng: Rng
    ) -> Consensus:
        """A Raft node of these classes.

        Args:
            node: this node.
            members: the voters the cluster was founded with (else this node is a learner); none for
                a node that joins, and learns from the log who they are.
            config: timings and limits.
            rng: randomness for election timeouts.
        """
        founders = Configuration(tuple(sorted(members)))

        def recover(now_ns: int, recovered: Recovered) -> Raft:
            parts = LogNode.recover(node, founders, recovered, config=config, parts=self)
            return Raft(parts, rng=rng, parts=self, now_ns=now_ns)

        return Consensus("raft", recover)

    def leadership(self, node: LogNode, now_ns: int) -> Leadership:
        """The leader's side of a node that was elected."""
        generation, peers, config = node.clock.generation, node.peers(), node.config
        first_index = node.log.last_index + 1
        return Leadership(
            node,
            generation,
            replication=self.replication(
                node.name,
                generation,
                node.log,
                peers,
                config=config,
                now_ns=now_ns,
                pipeline=self.pipeline,
            ),
            rounds=self.rounds(node.name, peers, config=config, now_ns=now_ns),
            reads=self.reads(first_index),
            change=self.change(first_index, config=config),
        )


class Raft:
    """One node's part in Raft; see :class:`cluster.consensus.interface.Variant`.

    Args:
        node: the parts of the node, recovered.
        rng: randomness for election timeouts.
        parts: the classes it is made of.
        now_ns: the time.
    """

    def __init__(self, node: LogNode, *, rng: Rng, parts: RaftParts, now_ns: int) -> None:
        self.node = node
        self.election = parts.election(
            node.config, rng, now_ns=now_ns, has_past=node.clock.generation > 0
        )
        self.following = Following(node)
        #: the leader's side, while this node leads
        self.serving: Leadership | None = None
        self.leader: NodeId = ""
        self._parts = parts
        self._now_ns = now_ns
        self.role: str = self._passive_role()

    @property
    def generation(self) -> int:
        """The node's generation."""
        return self.node.clock.generation

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.serving.deadline_ns if self.serving else self.election.deadline_ns

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """The node starts."""
        node, ends_in = self.node, self.node.log.last_generation
        assert ends_in <= self.generation, (
            f"the log ends in generation {ends_in}, which {node.name}, "
            f"of generation {self.generation}, has not entered"
        )
        self.election.arm(now_ns)

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        self._now_ns = now_ns
        kind, leads = type(message), self.serving is not None
        if source == self.node.name or not (kind in _FROM_ANY_NODE or self._is_peer(source)):
            return
        if kind is RequestVote:
            if self.node.repair.takes_part():
                self._on_request_vote(source, message)  # type: ignore[arg-type]
            return
        if kind is Recovering and not leads:
            self.node.repair.heard(source, now_ns)
            return
        standing = self.node.clock.standing(message.generation, leads=leads)
        if standing == FUTURE:
            self._become_follower(message.generation)
        elif standing == PAST and not self.following.takes_old(message):
            self.following.refuse(source, message)
            return
        leadership = self.serving
        if leadership is not None:
            leadership.rounds.heartbeats.heard(source, now_ns)
            leadership.on_message(now_ns, source, message)
            if leadership.over:
                self._look_at(leadership)
        else:
            self._take(source, message)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, elections."""
        self._now_ns = now_ns
        if self.serving is not None:
            self.serving.tick(now_ns)
            self._look_at(self.serving)
        elif now_ns >= self.election.deadline_ns:
            sits_out = not self.node.repair.takes_part() or self.role == LEARNER
            if sits_out or not self.election.suspects_leader(now_ns):
                self.election.arm(now_ns)
                self.node.announce_damage()
            elif self.election.asks_before_campaigning():
                self._ask_prevotes()
            else:
                self._campaign()

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        self._now_ns = now_ns
        if self.serving is not None:
            self.serving.advance(now_ns)
            self._look_at(self.serving)
        elif self.role == CANDIDATE and self.election.own_vote_is_durable(io_id):
            self.election.count(self.node.name, granted=True)
            self._conclude_vote()
        self.following.continue_repair(io_id)

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Begin a change, if this node leads and nothing speaks against it."""
        self._now_ns = now_ns
        if self.serving is None:
            return Refusal("retry", f"{self.node.name} does not lead")
        return self.serving.change_members(now_ns, change)

    # -- roles and elections -----------------------------------------------------------------------

    def _passive_role(self) -> str:
        return FOLLOWER if self.node.is_voter() else LEARNER

    def _is_peer(self, source: NodeId) -> bool:
        leadership = self.serving
        return self.node.membership.current.has(source) or (
            leadership is not None and source in leadership.replication.pipelines
        )

    def _look_at(self, leadership: Leadership) -> None:
        """Step down if the leadership ended by itself."""
        if leadership.over:
            self._become_follower(self.generation)

    def _become_follower(self, generation: int) -> None:
        """Step down, or stay passive, possibly in a later generation with a leader unknown."""
        if generation > self.generation:
            self.node.clock.advance(generation)
            self.node.persist_clock()
        if self.role in (LEADER, CANDIDATE):
            self.election.left_office(self._now_ns)
        if self.serving is not None:
            self.serving.end(self.generation)
            self.serving = None
        self.election.end()
        self.role, self.leader = self._passive_role(), ""

    def _take(self, source: NodeId, message: Message) -> None:
        """A message of this generation, for a node that does not lead."""
        kind = type(message)
        if kind in FROM_LEADERS:
            if self.role == CANDIDATE:
                self._become_follower(self.generation)
            self.leader = source
            self.election.heard_leader(self._now_ns)
            if self.following.on_message(source, message):
                self.role = self._passive_role()
        elif kind is VoteReply:
            self._on_vote_reply(source, message)  # type: ignore[arg-type]
        elif kind is TimeoutNow:
            if self.role == FOLLOWER and source == self.leader and self.node.repair.takes_part():
                self._campaign(transfer=True)
        elif kind is ReadIndexRequest:
            self.following.refuse(source, message)
        elif kind is ReadIndexReply:
            self.node.outbox.reads.append((message.id, message.index))  # type: ignore[union-attr]

    def _ask_prevotes(self) -> None:
        self.role, self.leader = CANDIDATE, ""
        self.election.begin_prevote(self.node.name, self._now_ns)
        self._request_votes(self.generation + 1, prevote=True)
        self._conclude_vote()

    def _campaign(self, *, transfer: bool = False) -> None:
        """Enter the next generation and stand for election, once the own vote is durable."""
        self.role, self.leader = CANDIDATE, ""
        self.node.clock.advance(self.generation + 1)
        self.node.clock.vote(self.node.name)
        self.node.persist_clock()
        self.election.begin(self.node.writes.hard_state_write, self._now_ns)
        self.node.outbox.note("campaigning", generation=self.generation)
        self._request_votes(self.generation, transfer=transfer)

    def _request_votes(
        self, generation: int, *, prevote: bool = False, transfer: bool = False
    ) -> None:
        message = RequestVote(
            generation=generation,
            candidate=self.node.name,
            last_index=self.node.log.last_index,
            last_generation=self.node.log.last_generation,
            prevote=prevote,
            transfer=transfer,
        )
        for peer in self.node.peers():
            self.node.send_durably(peer, message)

    def _on_request_vote(self, source: NodeId, message: RequestVote) -> None:
        election, leads = self.election, self.serving is not None
        own = self.node.log.last_generation, self.node.log.last_index
        protected = not message.transfer and election.protects_leader(self._now_ns, leads=leads)
        if message.prevote:
            granted = election.grants_prevote(message, self.generation, own, protected=protected)
        elif protected and message.generation > self.generation:
            return
        else:
            if self.node.clock.standing(message.generation, leads=leads) == FUTURE:
                self._become_follower(message.generation)
            granted = election.grants_vote(message, self.node.clock, own)
            if granted and not self.node.clock.voted_for:
                self.node.clock.vote(message.candidate)
                self.node.persist_clock()
            if granted:
                election.arm(self._now_ns)
        reply = VoteReply(self.generation, message.generation, granted, message.prevote)
        self.node.send_durably(source, reply)

    def _on_vote_reply(self, source: NodeId, message: VoteReply) -> None:
        if self.role == CANDIDATE and self.election.asked_for(message, self.generation):
            self.election.count(source, granted=message.granted)
            self._conclude_vote()

    def _conclude_vote(self) -> None:
        outcome = self.election.outcome(self.node.electorate())
        if outcome is False:
            self._become_follower(self.generation)
        elif outcome and self.election.prevoting:
            self._campaign()
        elif outcome:
            self._become_leader()

    def _become_leader(self) -> None:
        assert self.node.clock.voted_for == self.node.name, (
            f"{self.node.name} leads, and has not stood"
        )
        self.role, self.leader = LEADER, self.node.name
        self.election.end()
        self.serving = self._parts.leadership(self.node, self._now_ns)
        self.serving.begin(self._now_ns)
