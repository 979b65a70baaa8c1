"""What a Raft node holds, what others may look at, and every decision an ablation may override.

This is the first of five layers that make up :class:`cluster.consensus.raft.Raft`: state and
decisions (here), sending the log (``raft_replication``), heartbeats, reads and the high-water mark
(``raft_reads``), roles and elections (``raft_elections``), changes of members
(``raft_membership``); ``raft`` itself takes the inputs. Each layer calls only itself and those
before it, but for hooks with an empty body that a later layer fills. Decisions change nothing: they
answer yes or no, by the rules of the pattern modules.

Source: see ``cluster.consensus.raft``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.channel.request_pipeline import RequestPipeline
from cluster.clocks.generation_clock import GenerationClock, is_newer, is_stale
from cluster.config import ClusterConfig
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import follower_mark, leader_may_commit
from cluster.consensus.install_snapshot import SnapshotAssembly, SnapshotTransfer
from cluster.consensus.leader_and_followers import (
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
    others,
)
from cluster.consensus.read_index import ReadIndexQueue
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.ports import NodeId, Note, Recovered, Rng, Send
from cluster.wire import (
    AppendEntries,
    Entry,
    Message,
    RequestVote,
    Snapshot,
)

#: Reads asked for by followers have tokens below zero, so that they never meet the replica's.
_REMOTE_TOKENS_FROM = -1


class RaftState:
    """State and decisions of one node.

    Args:
        node: this node.
        members: the voters the cluster was founded with (else this node is a learner); none for a
            node that joins, and learns from the log who they are.
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
        self._reset(0, Recovered(GenerationClock().hard_state(), None, []))

    def _reset(self, now_ns: int, recovered: Recovered) -> None:
        snapshot = recovered.snapshot
        voters = self._started_with
        if snapshot:
            voters = Configuration.of_snapshot(snapshot.members, snapshot.configuration)
        self.now_ns = now_ns
        self.clock = GenerationClock(recovered.hard_state)
        self.log = ReplicatedLog.recover(recovered)
        self.writes = WriteOrder(self.log.last_index)
        self.membership = Membership(voters, index=snapshot.index if snapshot else 0)
        self.snapshot = snapshot
        self.high_water_mark = self._delivered = snapshot.index if snapshot else 0
        for entry in self.log.between(self.high_water_mark + 1, self.log.last_index):
            if entry.kind == "config":
                self.membership.append(entry.index, Configuration.decode(entry.data))
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
        self._settled_index = -1
        self._remote_reads: dict[int, tuple[NodeId, int]] = {}
        self._next_remote = _REMOTE_TOKENS_FROM
        self._assembly = SnapshotAssembly()
        self._sends: list[Send | Note] = []
        self._safe_reads: list[tuple[int, int]] = []
        self._restored: Snapshot | None = None
        self._shared_append: tuple[int, int, int] = (0, 0, 0)
        self._shared_message: AppendEntries | None = None
        self._heartbeat_ns = self._election_ns = now_ns

    # -- what others may look at -------------------------------------------------------------------

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
    def configuration(self) -> Configuration:
        """The configuration in force: the newest in the log, certain or not."""
        return self.membership.current

    @property
    def certain_configuration(self) -> Configuration:
        """The newest configuration at or below the high-water mark."""
        return self.membership.at(self.high_water_mark)

    @property
    def configuration_index(self) -> int:
        """The index at which it came into force."""
        return self.membership.index

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

    @property
    def handing_over(self) -> bool:
        """Whether this node leads and is handing leadership over."""
        return self._transfer is not None

    def entry_at(self, index: int) -> Entry | None:
        """The entry at an index; None if it is not held."""
        return self.log.entry_at(index)

    def generation_at(self, index: int) -> int | None:
        """The generation of the entry at an index; None if it is not known."""
        return self.log.generation_at(index)

    # -- decisions, which ablations override -------------------------------------------------------

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

    def electorate(self) -> Configuration:
        """The configuration by which votes and copies are counted: the newest in the log."""
        return self.membership.current

    def may_change_members(self) -> str:
        """Why no change of members may begin now; "" if one may.

        Until an entry of its own generation is certain, a leader does not know which configuration
        is; and one change must be certain before the next.
        """
        if not self.knows_high_water_mark():
            return "no entry of this leadership is certain yet"
        if self.membership.current.joint or self.membership.index > self.high_water_mark:
            return "another change of members is under way"
        return ""

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
        return self._rounds.confirmed >= round

    def lease_is_valid(self) -> bool:
        """Whether no other leader can exist yet, if clocks run at about the same rate."""
        config = self.config
        if self._lease_void or not (config.prevote or config.check_quorum):
            return False
        sent_ns = self._rounds.confirmed_sent_ns
        lease_ns = int(config.election_min_ns * config.lease_read_margin)
        alone = self.membership.current.nodes == (self.node,)
        return alone or (sent_ns >= 0 and self.now_ns - sent_ns < lease_ns)

    # -- helpers -----------------------------------------------------------------------------------

    def _peers(self) -> tuple[NodeId, ...]:
        """Everybody else of the configuration in force, and, until it is certain, of those before:
        who is about to leave shall learn of it."""
        if self.membership.index <= self.high_water_mark:
            return others(self.membership.current.nodes, self.node)
        recent = self.membership.since(self.high_water_mark)
        return others(sorted({node for found in recent for node in found.nodes}), self.node)

    def _send(self, to: NodeId, message: Message, *, after: int = 0) -> None:
        self._sends.append(Send(to, message, after))

    def _note(self, event: str, **detail: object) -> None:
        self._sends.append(Note(event, detail))

    def _note_configuration(self, entry: Entry) -> None:
        """A ``config`` entry is in the log: it is in force from now on, certain or not."""
        if entry.kind != "config":
            return
        configuration = Configuration.decode(entry.data)
        self.membership.append(entry.index, configuration)
        self._configuration_changed()

    def _configuration_changed(self) -> None:
        """Another configuration is in force, by an entry, by a cut, or by a snapshot."""
        if self.role in (FOLLOWER, LEARNER):
            self.role = self._passive_role()
        found = self.membership.current
        self._note(
            "configuration",
            index=self.membership.index,
            voters=list(found.voters),
            learners=list(found.learners),
            outgoing=list(found.outgoing),
        )

    def _raise_high_water_mark(self, index: int) -> None:
        if index > self.high_water_mark:
            before = self.high_water_mark
            self.high_water_mark = max(self.high_water_mark, min(index, self.log.last_index))
            if before < self.membership.index and self.role in (FOLLOWER, LEARNER):
                self.role = self._passive_role()

    def _passive_role(self) -> str:
        """A node may stand for election while any configuration that is in force, or will be if
        entries not yet certain are cut, counts it: it may be the only one that can win."""
        recent = self.membership.since(self.high_water_mark)
        return FOLLOWER if any(found.decides(self.node) for found in recent) else LEARNER
