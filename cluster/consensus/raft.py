"""Raft: consensus on a replicated log, composed of the pattern modules beside it.

This core decides who leads, what the log holds, what of it is certain, and at which index a read is
linearizable. It knows nothing of clients, sessions or the state machine. Each rule it follows is
told, with its reasons, in the module of its pattern:

    generation_clock         stale messages, the one vote           (cluster/clocks)
    leader_and_followers     elections, PreVote, who may win
    majority_quorum          how many are enough
    heartbeat                signs of life, rounds, CheckQuorum
    replicated_log           matching, conflicts, what is durable
    high_water_mark          what is certain
    read_index               linearizable reads
    membership               who votes
    install_snapshot         followers behind the low-water mark
    request_pipeline, request_batch                                  (cluster/channel)

Decisions are methods of their own, small and named (``accepts_generation``, ``yields_to``,
``grants_vote``, ``may_commit``, ``read_is_safe`` and so on), so that an ablation can take exactly
one away and a reader can find each. Durability order: a vote, a refusal that carries a new
generation and an acknowledgement leave with ``after`` naming the write they depend on, a candidate
asks for votes only once its own is durable, and a leader counts its own log only as far as that.
Heartbeats and their answers depend on no write of entries.

Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014); Ongaro's
thesis (2014); the async storage design of etcd's raft. Hosted by ``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cluster.channel.request_batch import batch_entries
from cluster.channel.request_pipeline import RequestPipeline
from cluster.clocks.generation_clock import GenerationClock, is_newer, is_stale
from cluster.config import ClusterConfig
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import follower_mark, leader_may_commit
from cluster.consensus.install_snapshot import SnapshotAssembly, SnapshotTransfer
from cluster.consensus.interface import Ready, SafetyViolation
from cluster.consensus.leader_and_followers import (
    CANDIDATE,
    FOLLOWER,
    LEADER,
    LEARNER,
    Transfer,
    is_up_to_date,
    may_vote,
)
from cluster.consensus.membership import (
    Configuration,
    Membership,
    agreed_value,
    agreed_vote,
    others,
)
from cluster.consensus.read_index import ReadIndexQueue
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.ports import NodeId, Note, Recovered, Rng, Send
from cluster.wire import (
    AppendEntries,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadIndex,
    ReadIndexReply,
    RequestVote,
    Snapshot,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)

#: Reads asked for by followers have tokens below zero, so that they never meet the replica's.
_REMOTE_TOKENS_FROM = -1


class Raft:
    """One node's part in Raft; see :class:`cluster.consensus.interface.Consensus`.

    Args:
        node: this node.
        members: the voters, this node among them (else it is a learner).
        config: timings and limits.
        rng: randomness for election timeouts.
    """

    name = "raft"

    def __init__(
        self, node: NodeId, members: Sequence[NodeId], *, config: ClusterConfig, rng: Rng
    ) -> None:
        self.node = node
        self.config = config
        self.role: str = FOLLOWER
        self.leader: NodeId = ""
        self.high_water_mark = 0
        self._started_with = Configuration(tuple(sorted(members)))
        self._rng = rng
        self._handlers: dict[type, Callable[[NodeId, Any], None]] = {
            AppendEntries: self._on_append,
            AppendReply: self._on_append_reply,
            Heartbeat: self._on_heartbeat,
            HeartbeatReply: self._on_heartbeat_reply,
            InstallSnapshot: self._on_install_snapshot,
            SnapshotReply: self._on_snapshot_reply,
            ReadIndex: self._on_read_index,
            ReadIndexReply: self._on_read_index_reply,
            TimeoutNow: self._on_timeout_now,
            VoteReply: self._on_vote_reply,
        }
        self._reset(0, Recovered(GenerationClock().hard_state(), None, []))

    def _reset(self, now_ns: int, recovered: Recovered) -> None:
        snapshot = recovered.snapshot
        voters = Configuration(snapshot.members) if snapshot else self._started_with
        self.now_ns = now_ns
        self.clock = GenerationClock(recovered.hard_state)
        self.log = ReplicatedLog.recover(recovered)
        self.writes = WriteOrder(self.log.last_index)
        self.membership = Membership(voters, index=snapshot.index if snapshot else 0)
        self.snapshot = snapshot
        self.high_water_mark = self._delivered = snapshot.index if snapshot else 0
        for entry in self.log.between(self.high_water_mark + 1, self.log.last_index):
            self._note_configuration(entry)
        # A node with a past may have answered a leader just before it stopped: until the shortest
        # election timeout has passed it stands by that answer, or lease reads would not be safe.
        self._heard_leader_ns = now_ns if self.clock.generation else -(1 << 62)
        self._pipelines: dict[NodeId, RequestPipeline] = {}
        self._transfers: dict[NodeId, SnapshotTransfer] = {}
        self._rounds = HeartbeatRounds((), now_ns)
        self._reads = ReadIndexQueue()
        self._votes: dict[NodeId, bool] = {}
        self._prevoting = False
        self._own_vote_io = 0
        self._transfer: Transfer | None = None
        self._lease_void = False
        self._own_first_index = 0
        self._remote_reads: dict[int, tuple[NodeId, int]] = {}
        self._next_remote = _REMOTE_TOKENS_FROM
        self._assembly = SnapshotAssembly()
        self._sends: list[Send | Note] = []
        self._safe_reads: list[tuple[int, int]] = []
        self._restored: Snapshot | None = None
        self._shared_append: tuple[int, int, int] = (0, 0, 0)
        self._shared_message: AppendEntries | None = None
        self._heartbeat_ns = self._election_ns = now_ns

    # -- what others may look at ------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """The node's generation."""
        return self.clock.generation

    @property
    def voted_for(self) -> NodeId:
        """Whom this node voted for in its generation; "" if nobody."""
        return self.clock.voted_for

    @property
    def first_index(self) -> int:
        """First index of the log held in memory."""
        return self.log.first_index

    @property
    def last_index(self) -> int:
        """Last index of the log."""
        return self.log.last_index

    @property
    def durable_index(self) -> int:
        """Last index of the log that is durable on this node."""
        return self.writes.durable_index

    @property
    def snapshot_index(self) -> int:
        """Index of the newest snapshot; 0 if none."""
        return self.snapshot.index if self.snapshot else 0

    @property
    def members(self) -> tuple[NodeId, ...]:
        """The voters in force."""
        return self.membership.current.voters

    @property
    def accepts_batch(self) -> bool:
        """Whether no write of entries is under way, so that a batch would be written at once."""
        return not self.writes.entries_outstanding

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        if self.role != LEADER:
            return self._election_ns
        if self._transfer:
            return min(self._heartbeat_ns, self._transfer.deadline_ns)
        return self._heartbeat_ns

    def entry_at(self, index: int) -> Entry | None:
        """The entry at an index; None if it is not held."""
        return self.log.entry_at(index)

    def generation_at(self, index: int) -> int | None:
        """The generation of the entry at an index; None if it is not known."""
        return self.log.generation_at(index)

    # -- decisions, which ablations override ------------------------------------------------------

    def accepts_generation(self, message_generation: int) -> bool:
        """Whether a message of this generation is heeded: not if it comes from the past."""
        return not is_stale(self.generation, message_generation)

    def yields_to(self, message_generation: int) -> bool:
        """Whether a message of this generation makes this node step down and adopt it."""
        return is_newer(self.generation, message_generation)

    def log_is_up_to_date(self, message: RequestVote) -> bool:
        """Whether a candidate's log is at least as recent as this node's."""
        return is_up_to_date(
            (message.last_generation, message.last_index),
            (self.log.last_generation, self.log.last_index),
        )

    def protects_leader(self, message: RequestVote) -> bool:
        """Whether a candidate is refused because a leader was heard within the shortest timeout."""
        if message.transfer or not (self.config.prevote or self.config.check_quorum):
            return False
        if self.role == LEADER:
            return True
        return self.now_ns - self._heard_leader_ns < self.config.election_min_ns

    def grants_vote(self, message: RequestVote) -> bool:
        """Whether the candidate gets this node's one vote of the generation."""
        return may_vote(
            asked=message.generation,
            generation=self.generation,
            candidate=message.candidate,
            voted_for=self.voted_for,
        ) and self.log_is_up_to_date(message)

    def grants_prevote(self, message: RequestVote) -> bool:
        """Whether the candidate would get the vote, were it to ask."""
        return (
            message.generation > self.generation
            and not self.protects_leader(message)
            and self.log_is_up_to_date(message)
        )

    def may_commit(self, index: int) -> bool:
        """Whether the leader may call an index certain which a quorum has made durable."""
        return leader_may_commit(
            index=index,
            high_water_mark=self.high_water_mark,
            entry=self.log.generation_at(index),
            own=self.generation,
        )

    def follower_high_water_mark(self, leader_mark: int, last_shared: int) -> int:
        """The mark a follower takes over."""
        return follower_mark(leader_mark=leader_mark, last_shared=last_shared)

    def may_truncate(self, index: int) -> bool:
        """Whether entries from an index on may be cut: never what is certain."""
        return index > self.high_water_mark

    def accepts_snapshot(self, index: int) -> bool:
        """Whether a snapshot at an index is news; an older one would rewind this node."""
        return index > self.high_water_mark

    def knows_high_water_mark(self) -> bool:
        """Whether this leader's mark is current: an entry of its own generation is certain."""
        return self.high_water_mark >= self._own_first_index

    def read_is_safe(self, round: int) -> bool:
        """Whether a read that waits for a heartbeat round may be served: a quorum answered it."""
        return self._confirmed_round() >= round

    def lease_is_valid(self) -> bool:
        """Whether no other leader can exist yet, if clocks run at about the same rate."""
        config = self.config
        if self._lease_void or not (config.prevote or config.check_quorum):
            return False
        self._confirmed_round()
        sent_ns = self._rounds.confirmed_sent_ns
        lease_ns = int(config.election_min_ns * config.lease_read_margin)
        return len(self.members) == 1 or (sent_ns >= 0 and self.now_ns - sent_ns < lease_ns)

    # -- inputs -----------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> None:
        """Begin from what is durable."""
        self._reset(now_ns, recovered)
        self.role = self._passive_role()
        self.leader = ""
        self._arm_election()

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        self.now_ns = now_ns
        if source == self.node or source not in self.membership.current.nodes:
            return
        if type(message) is RequestVote:
            self._on_request_vote(source, message)
            return
        if self.yields_to(message.generation):
            self._become_follower(message.generation)
        elif not self.accepts_generation(message.generation) and not (
            type(message) is VoteReply and message.prevote
        ):
            self._refuse_stale(source, message)
            return
        if self.role == LEADER:
            self._rounds.heard(source, now_ns)
        self._handlers[type(message)](source, message)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, elections."""
        self.now_ns = now_ns
        if self.role == LEADER:
            if self._transfer and now_ns >= self._transfer.deadline_ns:
                self._transfer = None
            if now_ns >= self._heartbeat_ns and self._keeps_quorum():
                self._broadcast_heartbeat()
        elif now_ns >= self._election_ns:
            if self.role == LEARNER:
                self._arm_election()
            elif self.config.prevote:
                self._ask_prevotes()
            else:
                self._campaign()

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        self.now_ns = now_ns
        self.writes.persisted(io_id)
        if self.role == LEADER:
            self._advance_high_water_mark()
        elif self.role == CANDIDATE and 0 < self._own_vote_io <= io_id:
            self._own_vote_io = 0
            self._count_vote(self.node, granted=True)

    def propose(
        self, now_ns: int, data: Sequence[bytes], *, kind: str = "command"
    ) -> tuple[int, int] | None:
        """Append entries in order, as one batch; (first index, generation), or None if refused."""
        self.now_ns = now_ns
        if self.role != LEADER or self._transfer or not data:
            return None
        generation, first = self.clock.generation, self.log.last_index + 1
        entries = tuple(
            [Entry(index, generation, kind, item) for index, item in enumerate(data, first)]
        )
        self.log.extend(entries)
        self.writes.append(entries)
        self._replicate_all()
        return first, generation

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> bool:
        """Ask for a linearizable index; False if this node does not lead."""
        self.now_ns = now_ns
        if self.role != LEADER:
            return False
        if not self.knows_high_water_mark():
            self._reads.hold(token)
        elif lease and self.lease_is_valid():
            self._safe_reads.append((token, self.high_water_mark))
        else:
            self._queue_read(token)
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
        if self.role == LEADER or not self.leader:
            return False
        self._send(self.leader, ReadIndex(self.generation, id))
        return True

    def transfer_leadership(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a follower, which must first have every entry; False if not possible."""
        self.now_ns = now_ns
        if self.role != LEADER or to == self.node or to not in self.members or self._transfer:
            return False
        self._transfer = Transfer(to, now_ns + self.config.election_max_ns)
        self._continue_transfer(to)
        return True

    def compact(self, index: int, data: bytes) -> None:
        """The state at an applied index: make it durable and let the log below the tail go."""
        generation = self.log.generation_at(index)
        if generation is None or index <= self.snapshot_index or index > self.high_water_mark:
            return
        members = self.membership.at(index).voters
        self.snapshot = Snapshot(index, generation, members, data)
        keep_from = max(self.log.first_index, index + 1 - self.config.snapshot_keep_entries)
        self.log.compact(keep_from - 1)
        self.membership.compact(index)
        self.writes.snapshot(self.snapshot, keep_from=keep_from)
        self._note("snapshot-taken", index=index, keep_from=keep_from, bytes=len(data))

    def ready(self) -> Ready:
        """Take everything that follows from the inputs so far."""
        committed: list[Entry] = []
        if self._delivered < self.high_water_mark:
            committed = self.log.between(self._delivered + 1, self.high_water_mark)
            if committed:
                self._delivered = committed[-1].index
        effects = self.writes.take()
        if self._sends:
            effects.extend(self._sends)
            self._sends = []
        reads, self._safe_reads = self._safe_reads, []
        restored, self._restored = self._restored, None
        return Ready(effects, restored, committed, reads)

    # -- roles ------------------------------------------------------------------------------------

    def _passive_role(self) -> str:
        return FOLLOWER if self.node in self.membership.current.voters else LEARNER

    def _arm_election(self) -> None:
        config = self.config
        timeout_ns = self._rng.between(config.election_min_ns, config.election_max_ns)
        self._election_ns = self.now_ns + timeout_ns

    def _enter_generation(self, generation: int) -> None:
        self.clock.advance(generation)
        self.writes.hard_state(self.clock.hard_state())

    def _become_follower(self, generation: int) -> None:
        """Step down, or stay passive, possibly in a later generation with a leader unknown."""
        led = self.role == LEADER
        if generation > self.generation:
            self._enter_generation(generation)
        if self.role in (LEADER, CANDIDATE):
            self._arm_election()
        if led:
            self._note("stepped-down", generation=self.generation)
            for token in self._reads.drain():
                self._fail_read(token)
        self.role = self._passive_role()
        self.leader = ""
        self._votes, self._prevoting, self._own_vote_io = {}, False, 0
        self._pipelines, self._transfers, self._transfer = {}, {}, None
        self._remote_reads = {}

    def _follow(self, source: NodeId) -> None:
        """A leader of this node's generation spoke."""
        if self.role == CANDIDATE:
            self._become_follower(self.generation)
        self.leader = source
        self._heard_leader_ns = self.now_ns
        self._arm_election()

    def _ask_prevotes(self) -> None:
        self.role, self.leader = CANDIDATE, ""
        self._prevoting, self._own_vote_io = True, 0
        self._votes = {self.node: True}
        self._arm_election()
        self._request_votes(self.generation + 1, prevote=True)
        self._conclude_vote()

    def _campaign(self, *, transfer: bool = False) -> None:
        """Enter the next generation and stand for election, once the own vote is durable."""
        self.role, self.leader = CANDIDATE, ""
        self._prevoting, self._votes = False, {}
        self.clock.advance(self.generation + 1)
        self.clock.vote(self.node)
        self.writes.hard_state(self.clock.hard_state())
        self._own_vote_io = self.writes.after_hard_state
        self._arm_election()
        self._note("campaigning", generation=self.generation)
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
        for peer in self._peers():
            self._send(peer, message, after=self.writes.after_hard_state)

    def _on_request_vote(self, source: NodeId, message: RequestVote) -> None:
        if message.prevote:
            granted = self.grants_prevote(message)
        elif message.generation > self.generation and self.protects_leader(message):
            return
        else:
            if self.yields_to(message.generation):
                self._become_follower(message.generation)
            granted = self.grants_vote(message)
            if granted and not self.voted_for:
                self.clock.vote(message.candidate)
                self.writes.hard_state(self.clock.hard_state())
            if granted:
                self._arm_election()
        reply = VoteReply(self.generation, message.generation, granted, message.prevote)
        self._send(source, reply, after=self.writes.after_hard_state)

    def _on_vote_reply(self, source: NodeId, message: VoteReply) -> None:
        asked = self.generation + 1 if self._prevoting else self.generation
        if self.role != CANDIDATE or message.prevote != self._prevoting or message.asked != asked:
            return
        self._count_vote(source, granted=message.granted)

    def _count_vote(self, voter: NodeId, *, granted: bool) -> None:
        self._votes.setdefault(voter, granted)
        self._conclude_vote()

    def _conclude_vote(self) -> None:
        outcome = agreed_vote(self.membership.current, self._votes)
        if outcome is False:
            self._become_follower(self.generation)
        elif outcome and self._prevoting:
            self._campaign()
        elif outcome:
            self._become_leader()

    def _become_leader(self) -> None:
        """Lead: begin with an entry of this generation, which makes all before it certain."""
        self.role, self.leader = LEADER, self.node
        self._votes, self._own_vote_io = {}, 0
        next_index, window = self.log.last_index + 1, self.config.inflight_max
        self._pipelines = {
            peer: RequestPipeline(next_index, window=window, now_ns=self.now_ns)
            for peer in self._peers()
        }
        self._transfers, self._transfer, self._lease_void = {}, None, False
        self._rounds = HeartbeatRounds(self._peers(), self.now_ns)
        self._reads = ReadIndexQueue()
        self._own_first_index = next_index
        self._note("leader-elected", generation=self.generation, index=next_index)
        self._broadcast_heartbeat()
        self.propose(self.now_ns, (b"",), kind="noop")

    def _on_timeout_now(self, source: NodeId, message: TimeoutNow) -> None:
        if self.role == FOLLOWER and source == self.leader:
            self._campaign(transfer=True)

    def _continue_transfer(self, peer: NodeId) -> None:
        transfer = self._transfer
        if transfer is None or transfer.to != peer or transfer.asked:
            return
        if self._pipelines[peer].match == self.log.last_index:
            # The target may win at any time from now on, however late the message arrives.
            transfer.asked = self._lease_void = True
            self._send(peer, TimeoutNow(self.generation), after=self.writes.after_hard_state)

    # -- heartbeats and reads ---------------------------------------------------------------------

    def _keeps_quorum(self) -> bool:
        """CheckQuorum: step down if too few were heard for a whole election timeout."""
        if not self.config.check_quorum:
            return True
        heard = {node: self._rounds.heard_ns(node) for node in self._peers()}
        heard[self.node] = self.now_ns
        since_ns = agreed_value(self.membership.current, heard)
        if self.now_ns - since_ns <= self.config.election_max_ns:
            return True
        self._note("lost-quorum", generation=self.generation)
        self._become_follower(self.generation)
        return False

    def _broadcast_heartbeat(self) -> None:
        """A new round. It waits for no write: a slow disk is not a dead leader."""
        round = self._rounds.next_round(self.now_ns)
        self._heartbeat_ns = self.now_ns + self.config.heartbeat_ns
        for peer, pipeline in self._pipelines.items():
            mark = min(self.high_water_mark, pipeline.match)
            self._send(peer, Heartbeat(self.generation, round, mark))

    def _on_heartbeat(self, source: NodeId, message: Heartbeat) -> None:
        if self.role == LEADER:
            return
        self._follow(source)
        self._raise_high_water_mark(message.high_water_mark)
        reply = HeartbeatReply(self.generation, message.round)
        self._send(source, reply, after=self.writes.after_hard_state)

    def _on_heartbeat_reply(self, source: NodeId, message: HeartbeatReply) -> None:
        if self.role != LEADER:
            return
        self._rounds.answered(source, message.round)
        self._release_reads()
        self._repair(source)

    def _confirmed_round(self) -> int:
        answered = {node: self._rounds.answered_round(node) for node in self._peers()}
        answered[self.node] = self._rounds.sent
        return self._rounds.confirm(agreed_value(self.membership.current, answered))

    def _queue_read(self, token: int) -> None:
        """Let a read wait for a round sent from now on; reads meanwhile share the one after."""
        under_way = self._reads.next_round and self._reads.next_round <= self._rounds.sent
        self._reads.add(token, index=self.high_water_mark, round=self._rounds.sent + 1)
        if self.read_is_safe(self._rounds.sent + 1):
            self._release_reads()
        elif not under_way:
            self._broadcast_heartbeat()
            self._release_reads()

    def _release_reads(self) -> None:
        reads = self._reads
        if not reads.next_round:
            return
        while reads.next_round and self.read_is_safe(reads.next_round):
            token, index = reads.pop()
            self._serve_read(token, index)
        if reads.next_round > self._rounds.sent:
            self._broadcast_heartbeat()

    def _serve_read(self, token: int, index: int) -> None:
        if token >= 0:
            self._safe_reads.append((token, index))
            return
        peer, id = self._remote_reads.pop(token)
        self._send(peer, ReadIndexReply(self.generation, id, index))

    def _fail_read(self, token: int) -> None:
        if token >= 0:
            self._safe_reads.append((token, 0))
            return
        peer, id = self._remote_reads.pop(token)
        reply = ReadIndexReply(self.generation, id, 0)
        self._send(peer, reply, after=self.writes.after_hard_state)

    def _on_read_index(self, source: NodeId, message: ReadIndex) -> None:
        if self.role != LEADER:
            reply = ReadIndexReply(self.generation, message.id, 0)
            self._send(source, reply, after=self.writes.after_hard_state)
            return
        token, self._next_remote = self._next_remote, self._next_remote - 1
        self._remote_reads[token] = (source, message.id)
        self.read(self.now_ns, token)

    def _on_read_index_reply(self, source: NodeId, message: ReadIndexReply) -> None:
        self._safe_reads.append((message.id, message.index))

    # -- replication: the leader's side -----------------------------------------------------------

    def _replicate_all(self) -> None:
        for peer in self._pipelines:
            self._replicate(peer)

    def _replicate(self, peer: NodeId) -> None:
        """Send a follower what it misses, as far as its window allows."""
        pipeline = self._pipelines[peer]
        while peer not in self._transfers and pipeline.can_send():
            if pipeline.next > self.log.last_index:
                return
            message = self._append_from(pipeline.next)
            if message is None:
                self._send_snapshot(peer)
                return
            self._send(peer, message)
            pipeline.sent(message.entries[-1].index, self.now_ns)

    def _append_from(self, index: int) -> AppendEntries | None:
        """The message with entries from an index on; None if what precedes them is gone.

        Followers that stand at the same place get the same object, which a host encodes once.
        """
        key = (index, self.log.last_index, self.high_water_mark)
        shared = self._shared_message
        if shared and self._shared_append == key and shared.generation == self.generation:
            return shared
        previous = self.log.generation_at(index - 1)
        if previous is None:
            return None
        config = self.config
        entries = self.log.between(index, index + config.batch_entries_max - 1)
        message = AppendEntries(
            generation=self.generation,
            prev_index=index - 1,
            prev_generation=previous,
            entries=tuple(batch_entries(entries, bytes_max=config.batch_bytes_max)),
            high_water_mark=self.high_water_mark,
        )
        self._shared_append, self._shared_message = key, message
        return message

    def _repair(self, peer: NodeId) -> None:
        """A follower lives but does not acknowledge: find out whether something was lost."""
        pipeline, transfer = self._pipelines[peer], self._transfers.get(peer)
        if transfer:
            if self.now_ns - pipeline.touched_ns >= self.config.election_min_ns:
                pipeline.touched_ns = self.now_ns
                self._send(peer, transfer.chunk(self.generation))
            return
        if not pipeline.stalled(self.now_ns, self.config.heartbeat_ns):
            self._replicate(peer)
            return
        pipeline.touched_ns = self.now_ns
        previous = self.log.generation_at(pipeline.next - 1)
        if pipeline.probing or previous is None:
            pipeline.reset(pipeline.next)
            self._replicate(peer)
            return
        self._send(
            peer,
            AppendEntries(self.generation, pipeline.next - 1, previous, (), self.high_water_mark),
        )

    def _on_append_reply(self, source: NodeId, message: AppendReply) -> None:
        pipeline = self._pipelines.get(source)
        if self.role != LEADER or pipeline is None:
            return
        if message.ok:
            if pipeline.acknowledged(min(message.match_index, self.log.last_index), self.now_ns):
                self._advance_high_water_mark()
                self._continue_transfer(source)
        elif source not in self._transfers:
            index, _generation = self.log.conflict_hint(message.hint_index, message.hint_generation)
            pipeline.refused(message.prev_index, index + 1)
        if self.role == LEADER:
            self._replicate(source)

    def _advance_high_water_mark(self) -> None:
        """Raise the mark to what a quorum has, the leader's own log counting where durable."""
        match = {peer: pipeline.match for peer, pipeline in self._pipelines.items()}
        match[self.node] = self.writes.durable_index
        index = agreed_value(self.membership.current, match)
        if not self.may_commit(index):
            return
        self._raise_high_water_mark(index)
        if self.knows_high_water_mark():
            for token in self._reads.release_held():
                self._queue_read(token)

    def _raise_high_water_mark(self, index: int) -> None:
        if index > self.high_water_mark:
            self.high_water_mark = max(self.high_water_mark, min(index, self.log.last_index))

    # -- replication: the follower's side ---------------------------------------------------------

    def _on_append(self, source: NodeId, message: AppendEntries) -> None:
        if self.role == LEADER:
            return
        self._follow(source)
        previous = message.prev_index
        if not self.log.matches(previous, message.prev_generation):
            index, generation = self.log.conflict_hint(previous - 1, message.prev_generation)
            reply = AppendReply(self.generation, False, 0, previous, index, generation)
            self._send(source, reply, after=self.writes.after_hard_state)
            return
        missing = self.log.missing(message.entries)
        if missing:
            self._take_entries(missing)
        last = previous + len(message.entries)
        self._raise_high_water_mark(self.follower_high_water_mark(message.high_water_mark, last))
        reply = AppendReply(self.generation, True, last, previous)
        self._send(source, reply, after=self.writes.after_index(last))

    def _take_entries(self, entries: Sequence[Entry]) -> None:
        first = entries[0].index
        if first <= self.log.last_index:
            if not self.may_truncate(first):
                raise SafetyViolation(
                    f"{self.node}: the leader of generation {self.generation} differs at {first}, "
                    f"but everything up to {self.high_water_mark} is certain"
                )
            self.log.truncate_from(first)
            self.membership.truncate_from(first)
        self.log.extend(entries)
        for entry in entries:
            self._note_configuration(entry)
        self.writes.append(entries)

    def _note_configuration(self, entry: Entry) -> None:
        if entry.kind == "config":
            self.membership.append(entry.index, Configuration.decode(entry.data))

    # -- snapshots --------------------------------------------------------------------------------

    def _send_snapshot(self, peer: NodeId) -> None:
        if self.snapshot is None:
            raise SafetyViolation(
                f"{self.node}: the log begins at {self.first_index} and there is no snapshot below"
            )
        transfer = SnapshotTransfer(self.snapshot, self.config.snapshot_chunk_bytes)
        self._transfers[peer] = transfer
        self._pipelines[peer].touched_ns = self.now_ns
        self._send(peer, transfer.chunk(self.generation))

    def _on_snapshot_reply(self, source: NodeId, message: SnapshotReply) -> None:
        pipeline = self._pipelines.get(source)
        if self.role != LEADER or pipeline is None:
            return
        transfer = self._transfers.get(source)
        if message.installed:
            if transfer and message.index >= transfer.snapshot.index:
                del self._transfers[source]
            if pipeline.acknowledged(min(message.index, self.log.last_index), self.now_ns):
                self._advance_high_water_mark()
            self._replicate(source)
        elif transfer and transfer.progressed(message.index, message.offset):
            pipeline.touched_ns = self.now_ns
            self._send(source, transfer.chunk(self.generation))

    def _on_install_snapshot(self, source: NodeId, message: InstallSnapshot) -> None:
        if self.role == LEADER:
            return
        self._follow(source)
        after = self.writes.after_hard_state
        if not self.accepts_snapshot(message.index):
            # What is certain here equals the leader's log; say how far that is durable.
            index = min(self.high_water_mark, self.writes.durable_index)
            index = max(index, message.index)
            after = self.writes.after_index(index)
            self._send(source, SnapshotReply(self.generation, index, 0, True), after=after)
            return
        snapshot = self._assembly.add(source, message)
        if snapshot is None:
            reply = SnapshotReply(self.generation, message.index, self._assembly.offset, False)
        else:
            after = self._install(snapshot)
            reply = SnapshotReply(self.generation, snapshot.index, 0, True)
        self._send(source, reply, after=after)

    def _install(self, snapshot: Snapshot) -> int:
        """Replace the state, and the log too unless it agrees; the write to wait for."""
        agrees = self.log.generation_at(snapshot.index) == snapshot.generation
        if agrees:
            self.log.compact(snapshot.index)
            self.membership.compact(snapshot.index)
        else:
            self.log.reset(snapshot.index, snapshot.generation)
            self.membership = Membership(Configuration(snapshot.members), index=snapshot.index)
        self.snapshot = self._restored = snapshot
        self.high_water_mark = self._delivered = snapshot.index
        self._note("snapshot-installed", index=snapshot.index, kept_log=agrees)
        return self.writes.snapshot(snapshot, keep_from=snapshot.index + 1, reset_log=not agrees)

    # -- sending ----------------------------------------------------------------------------------

    def _peers(self) -> tuple[NodeId, ...]:
        return others(self.membership.current.nodes, self.node)

    def _send(self, to: NodeId, message: Message, *, after: int = 0) -> None:
        self._sends.append(Send(to, message, after))

    def _note(self, event: str, **detail: object) -> None:
        self._sends.append(Note(event, detail))

    def _refuse_stale(self, source: NodeId, message: Message) -> None:
        """Answer a message from the past with this node's generation, so that its sender learns."""
        reply: Message
        if type(message) is AppendEntries:
            reply = AppendReply(self.generation, False, 0, message.prev_index)
        elif type(message) is Heartbeat:
            reply = HeartbeatReply(self.generation, 0)
        elif type(message) is InstallSnapshot:
            reply = SnapshotReply(self.generation, message.index, 0, False)
        elif type(message) is ReadIndex:
            reply = ReadIndexReply(self.generation, message.id, 0)
        else:
            return
        self._send(source, reply, after=self.writes.after_hard_state)
