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
    membership_change        how that changes
    install_snapshot         followers behind the low-water mark
    request_pipeline, request_batch                                  (cluster/channel)

The node itself is built in layers: ``raft_state`` (state and decisions), ``raft_replication``,
``raft_reads``, ``raft_elections``, ``raft_membership``, and this module, which takes the inputs and
the messages.

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

from cluster.config import ClusterConfig
from cluster.consensus.interface import Ready, SafetyViolation
from cluster.consensus.leader_and_followers import (
    CANDIDATE,
    LEADER,
    LEARNER,
    Transfer,
)
from cluster.consensus.membership import (
    Configuration,
    Membership,
)
from cluster.consensus.raft_membership import RaftMembership
from cluster.ports import NodeId, Recovered, Rng
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

#: What a node heeds from whoever sends it: its own configuration may be an old one, and a leader or
#: candidate of a newer one must get through. Answers are heeded from those who were asked.
_FROM_ANYBODY = frozenset({RequestVote, AppendEntries, Heartbeat, InstallSnapshot, TimeoutNow})


class Raft(RaftMembership):
    """One node's part in Raft; see :class:`cluster.consensus.interface.Consensus`.

    Args:
        node: this node.
        members: the voters the cluster was founded with (else this node is a learner); none for a
            node that joins, and learns from the log who they are.
        config: timings and limits.
        rng: randomness for election timeouts.
    """

    def __init__(
        self, node: NodeId, members: Sequence[NodeId], *, config: ClusterConfig, rng: Rng
    ) -> None:
        super().__init__(node, members, config=config, rng=rng)
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

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> None:
        """Begin from what is durable."""
        self._reset(now_ns, recovered)
        self.role = self._passive_role()
        self.leader = ""
        self._arm_election()

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        self.now_ns = now_ns
        if source == self.node or not self._heeds(source, message):
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

    def _heeds(self, source: NodeId, message: Message) -> bool:
        return (
            type(message) in _FROM_ANYBODY
            or source in self.membership.current.nodes
            or source in self._pipelines
        )

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, elections."""
        self.now_ns = now_ns
        if self.role == LEADER:
            if self._transfer and now_ns >= self._transfer.deadline_ns:
                self._transfer = None
            if now_ns >= self._heartbeat_ns and self._keeps_quorum():
                self._broadcast_heartbeat()
                self._release_reads()  # whose answer was waited for may be no voter any more
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

    def propose(self, now_ns: int, data: Sequence[bytes]) -> tuple[int, int] | None:
        """Append commands in order, as one batch; (first index, generation), or None if refused."""
        self.now_ns = now_ns
        if self.role != LEADER or self._transfer or not data:
            return None
        return self._append_own(data, "command"), self.generation

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
        found = self.membership.at(index)
        carried = b"" if found.plain else found.encode()
        self.snapshot = Snapshot(index, generation, found.voters, data, carried)
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

    # -- a follower's messages ---------------------------------------------------------------------

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
            if self.membership.index >= first:
                self.membership.truncate_from(first)
                self._configuration_changed()
        self.log.extend(entries)
        for entry in entries:
            self._note_configuration(entry)
        self.writes.append(entries)

    def _on_heartbeat(self, source: NodeId, message: Heartbeat) -> None:
        if self.role == LEADER:
            return
        self._follow(source)
        self._raise_high_water_mark(message.high_water_mark)
        reply = HeartbeatReply(self.generation, message.round)
        self._send(source, reply, after=self.writes.after_hard_state)

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
            found = Configuration.of_snapshot(snapshot.members, snapshot.configuration)
            before, self.membership = self.membership, Membership(found, index=snapshot.index)
            if before.current != found:
                self._configuration_changed()
        self.snapshot = self._restored = snapshot
        self.high_water_mark = self._delivered = snapshot.index
        self._note("snapshot-installed", index=snapshot.index, kept_log=agrees)
        return self.writes.snapshot(snapshot, keep_from=snapshot.index + 1, reset_log=not agrees)

    def _on_read_index_reply(self, source: NodeId, message: ReadIndexReply) -> None:
        self._safe_reads.append((message.id, message.index))

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

    # -- a leader's messages -----------------------------------------------------------------------

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
        if self.role == LEADER and source in self._pipelines:
            self._replicate(source)

    def _on_heartbeat_reply(self, source: NodeId, message: HeartbeatReply) -> None:
        if self.role != LEADER or source not in self._pipelines:
            return
        self._rounds.answered(source, message.round)
        self._confirm_rounds()
        self._release_reads()
        self._repair(source)

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
            if self.role == LEADER and source in self._pipelines:
                self._replicate(source)
        elif transfer and transfer.progressed(message.index, message.offset):
            pipeline.touched_ns = self.now_ns
            self._send(source, transfer.chunk(self.generation))

    def _on_read_index(self, source: NodeId, message: ReadIndex) -> None:
        if self.role != LEADER:
            reply = ReadIndexReply(self.generation, message.id, 0)
            self._send(source, reply, after=self.writes.after_hard_state)
            return
        token, self._next_remote = self._next_remote, self._next_remote - 1
        self._remote_reads[token] = (source, message.id)
        self.read(self.now_ns, token)
