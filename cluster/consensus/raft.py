"""Raft: consensus on a replicated log, composed of the pattern modules beside it.

This core decides who leads, what the log holds, what of it is committed, and at which index a read
is linearizable. It knows nothing of clients, sessions or the state machine. It owns these parts,
each told with its reasons in the module of its pattern, and each usable by other cores:

    clock        generation_clock      the generation, and the one vote in it
    log, writes  replicated_log        the entries; what of them is durable
    mark         high_water_mark       what is committed
    membership   membership            who votes, by the log
    election     election              timer, PreVote, votes
    snapshots    install_snapshot      the newest snapshot, and one that arrives
    repair       damage_repair         whether the disk lost something that was promised
    following    leader_and_followers  the follower's side: entries, marks and snapshots taken
    leadership   leader_and_followers  the leader's side, while this node leads; composed of
                                       replication, heartbeat, read_index, membership_change

A message goes through :meth:`Raft.step`. The generation clock judges it first. Then it goes to the
leadership, if this node leads, or to the follower's side. Raft itself decides which of the two this
node is: it holds the elections.

Decisions are small methods of the parts (``standing``, ``grants_vote``, ``may_commit``,
``read_is_safe``). An ablation replaces one of them in a subclass of its part, and
:class:`RaftParts` names the classes a node is made of.

Durability order. A vote, a refusal that carries a new generation and an acknowledgement leave with
``after`` naming the write they depend on. A candidate asks for votes only once its own is durable.
A leader counts its own log only as far as it is durable. Heartbeats and their answers depend on no
write of entries.

Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014); Ongaro's
thesis (2014); the async storage design of etcd's raft. Hosted by ``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from cluster.clocks.generation_clock import FUTURE, PAST, GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.election import Election
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots
from cluster.consensus.interface import Ready
from cluster.consensus.leader_and_followers import (
    CANDIDATE,
    FOLLOWER,
    FROM_LEADERS,
    LEADER,
    LEARNER,
    Following,
    Leadership,
)
from cluster.consensus.member_directories import MemberDirectories
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, MembershipChange, Refusal
from cluster.consensus.outbox import Outbox
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
    rounds: type[HeartbeatRounds] = HeartbeatRounds
    reads: type[ReadIndex] = ReadIndex
    change: type[MembershipChange] = MembershipChange
    directories: type[MemberDirectories] = MemberDirectories

    def members_of(self, found: Configuration, index: int, config: ClusterConfig) -> Membership:
        """Who takes part from an index on, and how that may change."""
        return self.membership(found, index=index, by_one=not config.joint_changes)

    def build(
        self, node: NodeId, members: Sequence[NodeId], *, config: ClusterConfig, rng: Rng
    ) -> Raft:
        """A Raft node of these classes; arguments as for :class:`Raft`."""
        return Raft(node, members, config=config, rng=rng, parts=self)


class Raft:
    """One node's part in Raft; see :class:`cluster.consensus.interface.Consensus`.

    Args:
        node: this node.
        members: the voters the cluster was founded with (else this node is a learner); none for a
            node that joins, and learns from the log who they are.
        config: timings and limits.
        rng: randomness for election timeouts.
        parts: the classes it is made of.
    """

    name = "raft"

    def __init__(
        self,
        node: NodeId,
        members: Sequence[NodeId],
        *,
        config: ClusterConfig,
        rng: Rng,
        parts: RaftParts = RaftParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node
        self.config = config
        self._parts = parts
        self._rng = rng
        self._founders = Configuration(tuple(sorted(members)))
        self._recover(0, Recovered(GenerationClock().hard_state(), None, []))

    def _recover(self, now_ns: int, recovered: Recovered) -> None:
        """Every part anew, from what is durable."""
        parts, snapshot = self._parts, recovered.snapshot
        index, found = 0, self._founders
        if snapshot:
            index = snapshot.index
            found = Configuration.of_snapshot(snapshot.members, snapshot.configuration)
        self.now_ns = now_ns
        self.clock = parts.clock(recovered.hard_state)
        self.log = parts.log.recover(recovered)
        self.writes = parts.writes(self.log.last_index)
        self.mark = parts.mark(index)
        self.membership = parts.members_of(found, index, self.config)
        self.snapshots = parts.snapshots(snapshot)
        self.repair = parts.repair(recovered.damage)
        self.election = parts.election(
            self.config, self._rng, now_ns=now_ns, has_past=self.clock.generation > 0
        )
        self.leadership: Leadership | None = None
        self.leader: NodeId = ""
        self._out = Outbox()
        self._following = Following(
            self.node,
            clock=self.clock,
            log=self.log,
            writes=self.writes,
            mark=self.mark,
            membership=self.membership,
            snapshots=self.snapshots,
            repair=self.repair,
            outbox=self._out,
        )
        for entry in self.log.between(index + 1, self.log.last_index):
            if entry.kind == "config":
                self.membership.append(entry.index, Configuration.decode(entry.data))
        self.role: str = self._passive_role()

    # -- what others may look at -------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """The node's generation."""
        return self.clock.generation

    @property
    def high_water_mark(self) -> int:
        """Last index known to be committed."""
        return self.mark.index

    @property
    def snapshot_index(self) -> int:
        """Index of the newest snapshot; 0 if none."""
        return self.snapshots.index

    @property
    def committed_configuration(self) -> Configuration:
        """The newest configuration at or below the high-water mark."""
        return self.membership.at(self.mark.index)

    @property
    def accepts_batch(self) -> bool:
        """Whether no write of entries is under way, so that a batch would be written at once."""
        return not self.writes.entries_outstanding

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.leadership.deadline_ns if self.leadership else self.election.deadline_ns

    @property
    def handing_over(self) -> bool:
        """Whether this node leads and is handing leadership over."""
        return self.leadership is not None and self.leadership.transfer is not None

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> None:
        """Begin from what is durable."""
        self._recover(now_ns, recovered)
        assert self.log.last_generation <= self.generation, (
            f"the log ends in generation {self.log.last_generation}, which {self.node}, "
            f"of generation {self.generation}, has not entered"
        )
        self.election.arm(now_ns)

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        self.now_ns = now_ns
        kind, leads = type(message), self.leadership is not None
        if source == self.node or not (kind in _FROM_ANY_NODE or self._is_peer(source)):
            return
        if kind is RequestVote:
            if self.repair.takes_part():
                self._on_request_vote(source, message)  # type: ignore[arg-type]
            return
        if kind is Recovering and not leads:
            self.repair.heard(source, now_ns)
            return
        standing = self.clock.standing(message.generation, leads=leads)
        if standing == FUTURE:
            self._become_follower(message.generation)
        elif standing == PAST and not self._following.takes_old(message):
            self._following.refuse(source, message)
            return
        leadership = self.leadership
        if leadership is not None:
            leadership.rounds.heard(source, now_ns)
            leadership.on_message(now_ns, source, message)
            self._look_at(leadership)
        else:
            self._take(source, message)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, elections."""
        self.now_ns = now_ns
        if self.leadership is not None:
            self.leadership.tick(now_ns)
            self._look_at(self.leadership)
        elif now_ns >= self.election.deadline_ns:
            sits_out = not self.repair.takes_part() or self.role == LEARNER
            if sits_out or not self.election.suspects_leader(now_ns):
                self.election.arm(now_ns)
                self._following.announce_damage()
            elif self.election.asks_before_campaigning():
                self._ask_prevotes()
            else:
                self._campaign()

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        self.now_ns = now_ns
        self.writes.persisted(io_id)
        if self.leadership is not None:
            self.leadership.advance(now_ns)
            self._look_at(self.leadership)
        elif self.role == CANDIDATE and self.election.own_vote_is_durable(io_id):
            self.election.count(self.node, granted=True)
            self._conclude_vote()
        self._following.continue_repair(io_id)

    def propose(self, now_ns: int, data: Sequence[bytes]) -> tuple[int, int] | None:
        """Append commands in order, as one batch; (first index, generation), or None if refused."""
        self.now_ns = now_ns
        if self.leadership is None or self.leadership.transfer or not data:
            return None
        return self.leadership.append(now_ns, data, "command"), self.generation

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> bool:
        """Ask for a linearizable index; False if this node does not lead."""
        self.now_ns = now_ns
        if self.leadership is None:
            return False
        self.leadership.read(now_ns, token, lease=lease)
        return True

    def forward_read(self, now_ns: int, id: int) -> bool:
        """A follower asks its leader for the index instead; the answer comes in ``Ready.reads``.

        Args:
            now_ns: the time.
            id: the caller's token, echoed.

        Returns:
            False if no leader is known. Lost messages are not repeated: the caller asks again.
        """
        self.now_ns = now_ns
        if self.leadership is not None or not self.leader:
            return False
        self._out.send(self.leader, ReadIndexRequest(self.generation, id))
        return True

    def transfer_leadership(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a follower, which must first have every entry; False if not possible."""
        self.now_ns = now_ns
        return self.leadership is not None and self.leadership.transfer_to(now_ns, to)

    def best_successor(self) -> NodeId:
        """The voter a leader would best hand over to; "" if there is none."""
        return self.leadership.best_successor(self.now_ns) if self.leadership else ""

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Begin a change, if this node leads and nothing speaks against it.

        It is done when a configuration that is not joint, and in which it is so, is committed.

        Returns:
            Why not; None if it began, is under way already, or is so already.
        """
        self.now_ns = now_ns
        if self.leadership is None:
            return Refusal("retry", f"{self.node} does not lead")
        return self.leadership.change_members(now_ns, change)

    def compact(self, index: int, data: bytes) -> None:
        """The state at an applied index: make it durable and let the log below the tail go."""
        self._following.take_snapshot(index, data, keep=self.config.snapshot_keep_entries)

    def ready(self) -> Ready:
        """Take everything that follows from the inputs so far."""
        committed = self.mark.take(self.log, self.config.apply_entries_max)
        effects = self.writes.take()
        if self._out.effects:
            effects += self._out.effects
            self._out.effects.clear()
        restored = self._following.take_restored()
        return Ready(effects, restored, committed, self._out.take_reads())

    # -- roles and elections -----------------------------------------------------------------------

    def _passive_role(self) -> str:
        return FOLLOWER if self.membership.may_vote(self.node, self.mark.index) else LEARNER

    def _is_peer(self, source: NodeId) -> bool:
        leadership = self.leadership
        return source in self.membership.current.nodes or (
            leadership is not None and source in leadership.replication.pipelines
        )

    def _look_at(self, leadership: Leadership) -> None:
        """Step down if the leadership ended by itself."""
        if leadership.over:
            self._become_follower(self.generation)

    def _become_follower(self, generation: int) -> None:
        """Step down, or stay passive, possibly in a later generation with a leader unknown."""
        if generation > self.generation:
            self.clock.advance(generation)
            self.writes.hard_state(self.clock.hard_state())
        if self.role in (LEADER, CANDIDATE):
            self.election.left_office(self.now_ns)
        if self.leadership is not None:
            self.leadership.end(self.generation)
            self.leadership = None
        self.election.end()
        self.role, self.leader = self._passive_role(), ""

    def _take(self, source: NodeId, message: Message) -> None:
        """A message of this generation, for a node that does not lead."""
        kind = type(message)
        if kind in FROM_LEADERS:
            if self.role == CANDIDATE:
                self._become_follower(self.generation)
            self.leader = source
            self.election.heard_leader(self.now_ns)
            if self._following.on_message(source, message):
                self.role = self._passive_role()
        elif kind is VoteReply:
            self._on_vote_reply(source, message)  # type: ignore[arg-type]
        elif kind is TimeoutNow:
            if self.role == FOLLOWER and source == self.leader and self.repair.takes_part():
                self._campaign(transfer=True)
        elif kind is ReadIndexRequest:
            self._following.refuse(source, message)
        elif kind is ReadIndexReply:
            self._out.reads.append((message.id, message.index))  # type: ignore[union-attr]

    def _ask_prevotes(self) -> None:
        self.role, self.leader = CANDIDATE, ""
        self.election.begin_prevote(self.node, self.now_ns)
        self._request_votes(self.generation + 1, prevote=True)
        self._conclude_vote()

    def _campaign(self, *, transfer: bool = False) -> None:
        """Enter the next generation and stand for election, once the own vote is durable."""
        self.role, self.leader = CANDIDATE, ""
        self.clock.advance(self.generation + 1)
        self.clock.vote(self.node)
        self.writes.hard_state(self.clock.hard_state())
        self.election.begin(self.writes.hard_state_write, self.now_ns)
        self._out.note("campaigning", generation=self.generation)
        self._request_votes(self.generation, transfer=transfer)

    def _request_votes(
        self, generation: int, *, prevote: bool = False, transfer: bool = False
    ) -> None:
        message = RequestVote(
            generation=generation,
            candidate=self.node,
            last_index=self.log.last_index,
            last_generation=self.log.last_generation,
            prevote=prevote,
            transfer=transfer,
        )
        for peer in self.membership.peers(self.node, self.mark.index):
            self._out.send(peer, message, after=self.writes.after_hard_state)

    def _on_request_vote(self, source: NodeId, message: RequestVote) -> None:
        election, leads = self.election, self.leadership is not None
        own = self.log.last_generation, self.log.last_index
        protected = not message.transfer and election.protects_leader(self.now_ns, leads=leads)
        if message.prevote:
            granted = election.grants_prevote(message, self.generation, own, protected=protected)
        elif protected and message.generation > self.generation:
            return
        else:
            if self.clock.standing(message.generation, leads=leads) == FUTURE:
                self._become_follower(message.generation)
            granted = election.grants_vote(message, self.clock, own)
            if granted and not self.clock.voted_for:
                self.clock.vote(message.candidate)
                self.writes.hard_state(self.clock.hard_state())
            if granted:
                election.arm(self.now_ns)
        reply = VoteReply(self.generation, message.generation, granted, message.prevote)
        self._out.send(source, reply, after=self.writes.after_hard_state)

    def _on_vote_reply(self, source: NodeId, message: VoteReply) -> None:
        if self.role == CANDIDATE and self.election.asked_for(message, self.generation):
            self.election.count(source, granted=message.granted)
            self._conclude_vote()

    def _conclude_vote(self) -> None:
        outcome = self.election.outcome(self.membership.electorate())
        if outcome is False:
            self._become_follower(self.generation)
        elif outcome and self.election.prevoting:
            self._campaign()
        elif outcome:
            self._become_leader()

    def _become_leader(self) -> None:
        assert self.clock.voted_for == self.node, f"{self.node} leads, and has not stood"
        self.role, self.leader = LEADER, self.node
        self.election.end()
        parts, config, now_ns = self._parts, self.config, self.now_ns
        peers = self.membership.peers(self.node, self.mark.index)
        first_index = self.log.last_index + 1
        self.leadership = Leadership(
            self.node,
            self.generation,
            config=config,
            log=self.log,
            writes=self.writes,
            mark=self.mark,
            membership=self.membership,
            snapshots=self.snapshots,
            replication=parts.replication(
                self.node, self.generation, self.log, peers, config=config, now_ns=now_ns
            ),
            rounds=parts.rounds(self.node, peers, config=config, now_ns=now_ns),
            reads=parts.reads(first_index),
            change=parts.change(first_index, config=config),
            outbox=self._out,
        )
        self.leadership.begin(now_ns)
