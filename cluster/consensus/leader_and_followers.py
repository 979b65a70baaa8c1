"""Leader and Followers: one node decides the order, the others copy it, and any can take over.

Problem. If each node of a replicated service accepts updates, they disagree about order, and a
quorum alone does not decide between two orders.

Solution. One leader per generation assigns indexes to entries. It begins with an entry of its own
generation, which commits everything before it. It sends its log to the followers (Replication),
commits what a quorum has durable (High-Water Mark), proves with heartbeat rounds that it still
leads (HeartBeat, ReadIndex), carries changes of members through (Membership change), and hands over
on request. :class:`Leadership` is this side of a node, for one generation; it exists only while the
node leads. :class:`Following` is the other side: it takes over the leader's entries, marks and
snapshots, and acknowledges what is durable. How a leader is found is told in ``election``.

Invariants. At most one leader per generation. A leader has every committed entry when it begins.
Only the leader creates entries of its generation, and it never overwrites its own log. A follower
never cuts a committed entry, and acknowledges nothing before it is durable.

What breaks without it. A09: indexes assigned by several nodes fork the log at once. A64: leadership
handed to a node that misses entries loses acknowledged ones.

Source: Joshi, "Leader and Followers"; Raft paper 5.3, 6; Raft thesis 3.10 (transfer), 4.2, 6.2.
Composed of parts, each tested alone; owned by the Raft core, and by that of Zab, which adds what
must precede them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots, snapshot_of
from cluster.consensus.interface import SafetyViolation
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, MembershipChange, Refusal, settled
from cluster.consensus.outbox import Outbox
from cluster.consensus.read_index import ReadIndex
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.replication import Replication
from cluster.ports import NodeId
from cluster.wire import (
    AppendEntries,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadIndexReply,
    Recovering,
    Snapshot,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)
from cluster.wire import ReadIndex as ReadIndexRequest

LEADER: Final = "leader"
FOLLOWER: Final = "follower"
CANDIDATE: Final = "candidate"
LEARNER: Final = "learner"

#: What only a leader sends.
FROM_LEADERS: Final = frozenset({AppendEntries, Heartbeat, InstallSnapshot})


class Transfer:
    """A leadership being handed over on request.

    The leader takes no new entries until the target has all, tells it to campaign at once, and
    gives up after a while.

    Args:
        to: the next leader.
        deadline_ns: when this leader carries on itself.
    """

    __slots__ = ("asked", "deadline_ns", "to")

    def __init__(self, to: NodeId, deadline_ns: int) -> None:
        self.to = to
        self.deadline_ns = deadline_ns
        self.asked = False


class Leadership:
    """One node's leadership of one generation.

    The parts come ready made; those of the node (log, writes, mark, membership, snapshots, outbox)
    outlive the leadership, those of the leadership (replication, rounds, reads, change) do not.
    After each call the owner looks at :attr:`over`.

    Args:
        node: this node.
        generation: the one it leads.
        config: timings and limits.
    """

    def __init__(
        self,
        node: NodeId,
        generation: int,
        *,
        config: ClusterConfig,
        log: ReplicatedLog,
        writes: WriteOrder,
        mark: HighWaterMark,
        membership: Membership,
        snapshots: Snapshots,
        replication: Replication,
        rounds: HeartbeatRounds,
        reads: ReadIndex,
        change: MembershipChange,
        outbox: Outbox,
    ) -> None:
        self.generation = generation
        #: whether it ended by itself: no quorum was heard, or this node is no member any more
        self.over = False
        self.transfer: Transfer | None = None
        self.rounds = rounds
        self.replication = replication
        self._node = node
        self._config = config
        self._log = log
        self._writes = writes
        self._mark = mark
        self._membership = membership
        self._snapshots = snapshots
        self._reads = reads
        self._change = change
        self._out = outbox
        self._handlers: dict[type, Callable[[int, NodeId, Any], None]] = {
            AppendReply: self._on_append_reply,
            HeartbeatReply: self._on_heartbeat_reply,
            SnapshotReply: self._on_snapshot_reply,
            ReadIndexRequest: lambda now_ns, source, message: self.read(
                now_ns, self._reads.remote_token(source, message.id)
            ),
            Recovering: self._on_recovering,
        }

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """A round of heartbeats, and an entry of this generation."""
        assert self._log.last_generation < self.generation, (
            f"generation {self.generation} has entries before its leader {self._node} begins"
        )
        self._out.note("leader-elected", generation=self.generation, index=self._log.last_index + 1)
        self.send_round(now_ns)
        self.append(now_ns, (b"",), "noop")

    def end(self, generation: int) -> None:
        """Leadership is lost: no read can be confirmed any more.

        Args:
            generation: the node's now, which its answers carry.
        """
        self._out.note("stepped-down", generation=generation)
        for token in self._reads.drain():
            if token >= 0:
                self._out.reads.append((token, 0))
            else:
                peer, id = self._reads.take_remote(token)
                self._send_durably(peer, ReadIndexReply(generation, id, 0))

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        if self.transfer:
            return min(self.rounds.due_ns, self.transfer.deadline_ns)
        return self.rounds.due_ns

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, the end of a transfer."""
        if self.transfer and now_ns >= self.transfer.deadline_ns:
            self.transfer = None
        if now_ns < self.rounds.due_ns:
            return
        if not self.rounds.keeps_quorum(now_ns, self._membership.electorate()):
            self._out.note("lost-quorum", generation=self.generation)
            self.over = True
            return
        self.send_round(now_ns)
        self._release_reads(now_ns)  # the voter whose answer was missing may have left

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A message of this generation; those meant for followers are ignored."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(now_ns, source, message)

    def append(self, now_ns: int, data: Sequence[bytes], kind: str) -> int:
        """Create entries, write and send them as one batch; the index of the first."""
        generation, first = self.generation, self._log.last_index + 1
        entries = tuple(
            [Entry(index, generation, kind, item) for index, item in enumerate(data, first)]
        )
        self._log.extend(entries)
        self._writes.append(entries)
        self._out.effects += self.replication.send_all(
            now_ns, self._mark.index, self._snapshots.newest
        )
        return first

    def advance(self, now_ns: int) -> None:
        """Commit what a quorum has durable, this node's own log included."""
        match = self.replication.quorum_index(
            self._membership.electorate(), durable_index=self._writes.durable_index
        )
        if not self._mark.advance(match, self._log, self.generation):
            return
        if self._reads.mark_is_current(self._mark.index):
            for token in self._reads.release_held():
                self._add_read(now_ns, token)
            self._continue_change(now_ns)

    # -- reads -------------------------------------------------------------------------------------

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> None:
        """Find a linearizable index; it is put into ``outbox.reads``, or sent to a follower."""
        if not self._reads.mark_is_current(self._mark.index):
            self._reads.hold(token)
        elif lease and self.rounds.lease_is_valid(now_ns, self._membership.current):
            self._out.reads.append((token, self._mark.index))
        else:
            self._add_read(now_ns, token)

    def _add_read(self, now_ns: int, token: int) -> None:
        if self._reads.add(token, index=self._mark.index, sent=self.rounds.sent):
            self._release_reads(now_ns)

    def _release_reads(self, now_ns: int) -> None:
        """Serve the reads that are safe; send a round if the next one has none under way."""
        while True:
            for token, index in self._reads.take_safe(self.rounds.confirmed):
                if token >= 0:
                    self._out.reads.append((token, index))
                else:
                    peer, id = self._reads.take_remote(token)
                    self._out.send(peer, ReadIndexReply(self.generation, id, index))
            if not self._reads.needs_round(self.rounds.sent):
                return
            self.send_round(now_ns)

    def send_round(self, now_ns: int) -> None:
        """A new round of heartbeats. It waits for no write: a slow disk is not a dead leader."""
        round, told = self.rounds.next_round(now_ns), self._mark.told_to
        io = self._writes.io_issued if self.rounds.wait_for_disk() else 0
        for peer, pipeline in self.replication.pipelines.items():
            self._out.send(peer, Heartbeat(self.generation, round, told(pipeline.match)), after=io)
        self.rounds.confirm(self._membership.electorate())  # a lone voter needs no answer

    # -- answers -----------------------------------------------------------------------------------

    def _on_append_reply(self, now_ns: int, source: NodeId, message: AppendReply) -> None:
        replication = self.replication
        if source not in replication.pipelines:
            return
        if not message.ok:
            replication.refused(source, message)
        elif replication.acknowledged(source, message.match_index, now_ns, message.recovering):
            self.advance(now_ns)
            self._continue_transfer(source)
        self.send_missing(now_ns, source)

    def _on_recovering(self, now_ns: int, source: NodeId, message: Recovering) -> None:
        self.replication.lost(source, message.index)
        self.send_missing(now_ns, source)

    def _on_heartbeat_reply(self, now_ns: int, source: NodeId, message: HeartbeatReply) -> None:
        if source not in self.replication.pipelines:
            return
        self.rounds.answered(source, message.round)
        self.rounds.confirm(self._membership.electorate())
        self._release_reads(now_ns)
        mark, newest = self._mark.index, self._snapshots.newest
        self._out.effects += self.replication.repair(source, now_ns, mark, newest)

    def _on_snapshot_reply(self, now_ns: int, source: NodeId, message: SnapshotReply) -> None:
        replication = self.replication
        if source not in replication.pipelines:
            return
        if not message.installed:
            self._out.effects += replication.progressed(source, message, now_ns)
            return
        if replication.installed(source, message.index, now_ns, message.recovering):
            self.advance(now_ns)
        self.send_missing(now_ns, source)

    def send_missing(self, now_ns: int, peer: NodeId) -> None:
        """Send a follower what it lacks, as far as its window allows."""
        if not self.over and peer in self.replication.pipelines:
            self._out.effects += self.replication.send(
                peer, now_ns, self._mark.index, self._snapshots.newest
            )

    def _send_durably(self, to: NodeId, message: Message) -> None:
        self._out.send(to, message, after=self._writes.after_hard_state)

    # -- handing over ------------------------------------------------------------------------------

    def transfer_to(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a voter, which must first have every entry; False if not possible."""
        if self.transfer or to == self._node or to not in self._membership.current.voters:
            return False
        self.transfer = Transfer(to, now_ns + self._config.election_max_ns)
        self._continue_transfer(to)
        return True

    def _continue_transfer(self, peer: NodeId) -> None:
        transfer = self.transfer
        if self.over or transfer is None or transfer.to != peer or transfer.asked:
            return
        if self.replication.match(peer) == self._log.last_index:
            # The target may win at any time from now on, however late the message arrives.
            transfer.asked = True
            self.rounds.void_lease()
            self._send_durably(peer, TimeoutNow(self.generation))

    def best_successor(self, now_ns: int) -> NodeId:
        """The other voter that is heard and has most of the log; "" if there is none."""
        voters = self._membership.current.voters
        return self.replication.furthest(p for p in voters if self.rounds.is_heard(p, now_ns))

    # -- changes of members ------------------------------------------------------------------------

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Begin a change of members; None if it began, is under way, or is done already."""
        if self.transfer:
            return Refusal("retry", f"{self._node} is handing leadership over")
        pipelines, durable = self.replication.pipelines, self._writes.durable_index
        match = pipelines[change.member].match if change.member in pipelines else durable
        found = self._change.begin(
            change,
            self._membership,
            self._mark.index,
            heard=[n for n in (self._node, *pipelines) if self.rounds.is_heard(n, now_ns)],
            behind=self._log.last_index - match,
        )
        if isinstance(found, Configuration):
            self._append_configuration(now_ns, found)
            return None
        return found

    def _append_configuration(self, now_ns: int, configuration: Configuration) -> None:
        """Put a configuration into the log: from this moment this leader counts by it."""
        self._membership.append(self._log.last_index + 1, configuration)
        self._out.note("configuration", **self._membership.describe())
        self._follow_configuration(now_ns)
        self.append(now_ns, (configuration.encode(),), "config")

    def _follow_configuration(self, now_ns: int) -> None:
        """Send the log to the members concerned, and to no other node."""
        peers = self._membership.peers(self._node, self._mark.index)
        self.replication.follow(peers, now_ns)
        self.rounds.follow(peers, now_ns)
        if self.transfer and self.transfer.to not in self._membership.current.voters:
            self.transfer = None

    def _continue_change(self, now_ns: int) -> None:
        """The mark rose: take the next step of a change, if its last one is committed now."""
        configuration = self._change.committed(self._membership, self._mark.index)
        if configuration is None:
            return
        if configuration.joint:
            self._append_configuration(now_ns, settled(configuration))
            return
        peers = self._membership.peers(self._node, self._mark.index)
        if len(self.replication.pipelines) != len(peers):
            self.send_round(now_ns)  # the members that left learn that it is committed
            self._follow_configuration(now_ns)
        if self._node not in configuration.voters:
            self._retire(now_ns)

    def _retire(self, now_ns: int) -> None:
        """This leader is no member any more: let the best of the others take over at once."""
        heir = self.best_successor(now_ns)
        if heir:
            self._send_durably(heir, TimeoutNow(self.generation))
        self._out.note("left", generation=self.generation, heir=heir)
        self.over = True


class Following:
    """A node's side of the log while another node leads.

    Args:
        node: this node.
        clock: its generation.
        log: its entries; cut and grown here.
        writes: what of them is durable.
        mark: what is committed.
        membership: the configurations in the log.
        snapshots: the newest one, and one that arrives.
        repair: whether this node is damaged: what it acknowledges does not count then.
        outbox: where answers go.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        clock: GenerationClock,
        log: ReplicatedLog,
        writes: WriteOrder,
        mark: HighWaterMark,
        membership: Membership,
        snapshots: Snapshots,
        repair: DamageRepair,
        outbox: Outbox,
    ) -> None:
        self._node = node
        self._repair = repair
        self._clock = clock
        self._log = log
        self._writes = writes
        self._mark = mark
        self._membership = membership
        self._snapshots = snapshots
        self._out = outbox
        self._restored: Snapshot | None = None
        self._handlers: dict[type, Callable[[NodeId, Any], bool]] = {
            AppendEntries: self._on_append,
            Heartbeat: self._on_heartbeat,
            InstallSnapshot: self._on_install_snapshot,
        }
        repair.note(outbox)

    def on_message(self, source: NodeId, message: Message) -> bool:
        """The leader of this node's generation sent one of ``FROM_LEADERS``.

        Returns:
            Whether this node may have become a voter or a learner by it.
        """
        changed = self._handlers[type(message)](source, message)
        self.continue_repair()
        return changed

    def take_restored(self) -> Snapshot | None:
        """The snapshot that took the place of the state since the last call, if one did."""
        restored, self._restored = self._restored, None
        return restored

    def takes_old(self, message: Message) -> bool:
        """Whether a message of an earlier generation is taken all the same: the answer to PreVote,
        for which no generation is entered."""
        if type(message) is VoteReply:
            return message.prevote
        return type(message) is AppendReply and self._clock.counts_old_answers()

    def refuse(self, source: NodeId, message: Message) -> None:
        """Answer a message from the past, or one that only a leader can serve: the sender learns
        this node's generation. Answers are not answered."""
        generation, kind = self._clock.generation, type(message)
        reply: Message
        if kind is AppendEntries:
            reply = AppendReply(generation, False, 0, message.prev_index)  # type: ignore[union-attr]
        elif kind is Heartbeat:
            reply = HeartbeatReply(generation, 0)
        elif kind is InstallSnapshot:
            reply = SnapshotReply(generation, message.index, 0, False)  # type: ignore[union-attr]
        elif kind is ReadIndexRequest:
            reply = ReadIndexReply(generation, message.id, 0)  # type: ignore[union-attr]
        else:
            return
        self._answer(source, reply)

    def _answer(self, to: NodeId, message: Message, *, after: int = 0) -> None:
        """Answer once the hard state, and the write ``after``, are durable."""
        self._out.send(to, message, after=after or self._writes.after_hard_state)

    # -- damage ------------------------------------------------------------------------------------

    def announce_damage(self) -> None:
        """No leader is heard: others that are recovering and wait too must know of each other."""
        if self._repair.recovering:
            told = Recovering(self._clock.generation, self._log.last_index)
            for peer in self._membership.peers(self._node, self._mark.index):
                self._answer(peer, told)

    def continue_repair(self, io_id: int = 0) -> None:
        """Leave recovery, if this node has what it promised: write it down, then take part.

        Args:
            io_id: every write up to this one is durable.
        """
        repair, durable, generation = (
            self._repair,
            self._writes.durable_index,
            self._clock.generation,
        )
        if repair.damage is None:
            return
        if repair.ended(io_id):
            self._out.note("repaired", index=durable, generation=generation)
        elif not repair.ending:
            mark, of = self._mark.index, self._log.generation_at(self._mark.index)
            end = self._log.generation_at(durable) or 0, durable
            if repair.is_repaired(end, mark, of if of == generation else None):
                repair.end_with(self._writes.repaired())

    # -- entries -----------------------------------------------------------------------------------

    def _on_append(self, source: NodeId, message: AppendEntries) -> bool:
        generation, previous = self._clock.generation, message.prev_index
        if not self._log.matches(previous, message.prev_generation):
            at, of = self._log.conflict_hint(previous - 1, message.prev_generation)
            recovering = self._repair.recovering
            refusal = AppendReply(generation, False, 0, previous, at, of, recovering)
            self._answer(source, refusal)
            return False
        changed = self.bring_in_line(previous, message.entries, message.high_water_mark)
        last = previous + len(message.entries)
        self._repair.shares(generation, last)
        reply = AppendReply(generation, True, last, previous, recovering=self._repair.recovering)
        self._answer(source, reply, after=self._writes.after_index(last))
        return changed

    def bring_in_line(self, previous: int, entries: Sequence[Entry], leader_mark: int) -> bool:
        """Take over entries that follow ``previous``, up to which the logs agree, and the mark.

        Returns:
            Whether this node may have become a voter or a learner by it.
        """
        missing = self._log.missing(entries)
        changed = bool(missing) and self._take_entries(missing)
        return self._follow_mark(leader_mark, previous + len(entries)) or changed

    def _take_entries(self, entries: Sequence[Entry]) -> bool:
        """Add entries, cutting what differs; whether the configuration changed."""
        assert entries[-1].generation <= self._clock.generation, "entries of a later generation"
        first, changed = entries[0].index, False
        if first <= self._log.last_index:
            if not self._mark.may_truncate(first):
                raise SafetyViolation(
                    f"{self._node}: the leader of generation {self._clock.generation} differs at "
                    f"{first}, but everything up to {self._mark.index} is committed"
                )
            self._log.truncate_from(first)
            if self._membership.index >= first:
                self._membership.truncate_from(first)
                changed = self._configuration_changed()
        self._log.extend(entries)
        self._writes.append(entries)
        for entry in entries:
            if entry.kind == "config":
                self._membership.append(entry.index, Configuration.decode(entry.data))
                changed = self._configuration_changed()
        return changed

    def _configuration_changed(self) -> bool:
        self._out.note("configuration", **self._membership.describe())
        return True

    def _follow_mark(self, leader_mark: int, last_shared: int) -> bool:
        """Take over the mark; whether configurations before the current one are history by it."""
        before = self._mark.index
        rose = self._mark.follow(leader_mark, last_shared, self._log)
        return rose and before < self._membership.index

    def _on_heartbeat(self, source: NodeId, message: Heartbeat) -> bool:
        generation, last = self._clock.generation, self._log.last_index
        shared = self._repair.shared(generation, last)
        changed = self._follow_mark(message.high_water_mark, shared)
        self._answer(source, HeartbeatReply(generation, message.round))
        if self._repair.recovering:
            self._answer(source, Recovering(generation, last))
        return changed

    # -- snapshots ---------------------------------------------------------------------------------

    def take_snapshot(self, index: int, data: bytes, *, keep: int) -> None:
        """The state at an applied index: make it durable and let the log below the tail go."""
        generation = self._log.generation_at(index)
        if generation is None or not self._snapshots.index < index <= self._mark.index:
            return
        snapshot = snapshot_of(index, generation, self._membership.at(index), data)
        keep_from = max(self._log.first_index, index + 1 - keep)
        self._snapshots.install(snapshot)
        self._log.compact(keep_from - 1)
        self._membership.compact(index)
        self._writes.snapshot(snapshot, keep_from=keep_from)
        self._out.note("snapshot-taken", index=index, keep_from=keep_from, bytes=len(data))

    def _on_install_snapshot(self, source: NodeId, message: InstallSnapshot) -> bool:
        generation, mark = self._clock.generation, self._mark.index
        if not self._snapshots.accepts_snapshot(message.index, mark):
            # What is committed here equals the leader's log; say how far that is durable.
            index = max(min(mark, self._writes.durable_index), message.index)
            reply = SnapshotReply(generation, index, 0, True, self._repair.recovering)
            self._answer(source, reply, after=self._writes.after_index(index))
            return False
        snapshot = self._snapshots.receive(source, message)
        recovering = self._repair.recovering
        if snapshot is None:
            received = self._snapshots.received_bytes
            partly = SnapshotReply(generation, message.index, received, False, recovering)
            self._answer(source, partly)
            return False
        after = self._install(snapshot)
        self._repair.shares(generation, snapshot.index)
        whole = SnapshotReply(generation, snapshot.index, 0, True, recovering)
        self._answer(source, whole, after=after)
        return True

    def _install(self, snapshot: Snapshot) -> int:
        """Replace the state, and the log too unless it agrees; the write to wait for."""
        index = snapshot.index
        agrees = self._log.generation_at(index) == snapshot.generation
        if agrees:
            self._log.compact(index)
            self._membership.compact(index)
        else:
            self._log.reset(index, snapshot.generation)
            before = self._membership.current
            found = Configuration.of_snapshot(snapshot.members, snapshot.configuration)
            self._membership.reset(found, index)
            if before != found:
                self._configuration_changed()
        self._snapshots.install(snapshot)
        self._mark.install(index)
        self._restored = snapshot
        self._out.note("snapshot-installed", index=index, kept_log=agrees)
        return self._writes.snapshot(snapshot, keep_from=index + 1, reset_log=not agrees)
