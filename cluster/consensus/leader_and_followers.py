"""Leader and Followers: one node decides the order, the others copy it, and any can take over.

Problem. If each node of a replicated service accepts updates, they disagree about order, and a
quorum alone does not decide between two orders.

Solution. One leader per generation assigns indexes to entries. It begins with an entry of its own
generation, which commits everything before it. It sends its log to the followers (Replication),
commits what a quorum has durable (High-Water Mark), proves with heartbeat rounds that it still
leads (HeartBeat, ReadIndex), carries changes of members through (Membership change), and hands over
on request. :class:`Leadership` is this side of a node, for one generation; it exists only while the
node leads. :class:`Following` is the other side: it takes over the leader's entries, marks and
snapshots, and acknowledges what is durable. How a leader is found is described in ``election``.

Invariants. At most one leader per generation. A leader has every committed entry when it begins.
Only the leader creates entries of its generation, and it never overwrites its own log. A follower
never cuts a committed entry, and acknowledges nothing before it is durable.

What breaks without it. A64: leadership handed to a node that misses entries loses acknowledged
ones. A67a: a leader serves before the others have its log. A09: several nodes assign the indexes of
one generation, and their logs differ although indexes and generations are the same.

Source: Joshi, "Leader and Followers"; Raft paper 5.3, 6; Raft thesis 3.10 (transfer), 4.2, 6.2.
Composed of parts, each tested alone; owned by the Raft core, and by that of Zab, which adds what
must precede them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cluster.consensus.handover import Handover
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.interface import SafetyViolation
from cluster.consensus.leader_rounds import LeaderRounds
from cluster.consensus.log_node import LogNode
from cluster.consensus.membership import Configuration
from cluster.consensus.membership_change import Change, MembershipChange, Refusal, settled
from cluster.consensus.read_index import ReadIndex
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


class Leadership:
    """One node's leadership of one generation.

    The parts come ready made; those of the node outlive the leadership, the others do not. After
    each call the owner looks at :attr:`over`.

    Args:
        node: the parts of the node.
        generation: the one it leads.
        replication: the followers' pipelines.
        rounds: the heartbeat rounds.
        reads: the reads that wait for a round.
        change: what may be changed about the members.
    """

    def __init__(
        self,
        node: LogNode,
        generation: int,
        *,
        replication: Replication,
        rounds: HeartbeatRounds,
        reads: ReadIndex,
        change: MembershipChange,
    ) -> None:
        self.generation = generation
        #: whether it ended by itself: no quorum was heard, or this node is no member any more
        self.over = False
        self.replication = replication
        self.rounds = LeaderRounds(
            node, generation, replication.pipelines, heartbeats=rounds, reads=reads
        )
        self.handover = Handover(node, generation, rounds)
        self._node = node
        self._log, self._writes, self._mark = node.log, node.writes, node.mark
        self._membership, self._out = node.membership, node.outbox
        self._change = change
        self._handlers: dict[type, Callable[[int, NodeId, Any], None]] = {
            AppendReply: self._on_append_reply,
            HeartbeatReply: self._on_heartbeat_reply,
            SnapshotReply: self._on_snapshot_reply,
            ReadIndexRequest: self.rounds.forwarded,
            Recovering: self._on_recovering,
        }

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """A round of heartbeats, and an entry of this generation."""
        assert self._log.last_generation < self.generation, (
            f"generation {self.generation} has entries before its leader {self._node.name} begins"
        )
        self._out.note("leader-elected", generation=self.generation, index=self._log.last_index + 1)
        self.rounds.send(now_ns)
        self.append(now_ns, (b"",), "noop")

    def end(self, generation: int) -> None:
        """Leadership is lost; ``generation`` is the node's now, which its answers carry."""
        self._out.note("stepped-down", generation=generation)
        self.rounds.end(generation)

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        rounds_ns, handover_ns = self.rounds.deadline_ns, self.handover.deadline_ns
        return rounds_ns if rounds_ns < handover_ns else handover_ns

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, the end of handing over."""
        self.handover.tick(now_ns)
        self.over |= not self.rounds.tick(now_ns)

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
            now_ns, self._mark.index, self._node.snapshots.newest
        )
        return first

    def advance(self, now_ns: int) -> None:
        """Commit what a quorum has durable, this node's own log included."""
        match = self.replication.quorum_index(
            self._node.electorate(), durable_index=self._writes.durable_index
        )
        if not self._mark.advance(match, self._log, self.generation):
            return
        if self.rounds.mark_rose(now_ns):
            self._continue_change(now_ns)

    # -- answers -----------------------------------------------------------------------------------

    def _on_append_reply(self, now_ns: int, source: NodeId, message: AppendReply) -> None:
        replication = self.replication
        if source not in replication.pipelines:
            return
        if not message.ok:
            replication.refused(source, message)
        elif replication.acknowledged(source, message.match_index, now_ns, message.recovering):
            self.advance(now_ns)
            self._continue_handover(source)
        self.send_missing(now_ns, source)

    def _on_recovering(self, now_ns: int, source: NodeId, message: Recovering) -> None:
        self.replication.lost(source, message.index)
        self.send_missing(now_ns, source)

    def _on_heartbeat_reply(self, now_ns: int, source: NodeId, message: HeartbeatReply) -> None:
        if source not in self.replication.pipelines:
            return
        self.rounds.answered(now_ns, source, message.round)
        mark, newest = self._mark.index, self._node.snapshots.newest
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
                peer, now_ns, self._mark.index, self._node.snapshots.newest
            )

    # -- handing over ------------------------------------------------------------------------------

    def transfer_to(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a voter, which must first have every entry; False if not possible."""
        if not self.handover.begin(now_ns, to):
            return False
        self._continue_handover(to)
        return True

    def _continue_handover(self, peer: NodeId) -> None:
        if not self.over:
            self.handover.caught_up(peer, self.replication.match(peer))

    def best_successor(self, now_ns: int) -> NodeId:
        """The other voter that is heard and has most of the log; "" if there is none."""
        voters = self._membership.current.voters
        return self.replication.furthest(
            p for p in voters if self.rounds.heartbeats.is_heard(p, now_ns)
        )

    # -- changes of members ------------------------------------------------------------------------

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Begin a change of members; None if it began, is under way, or is done already."""
        if self.handover.under_way:
            return Refusal("retry", f"{self._node.name} is handing leadership over")
        pipelines, durable = self.replication.pipelines, self._writes.durable_index
        match = pipelines[change.member].match if change.member in pipelines else durable
        found = self._change.begin(
            change,
            self._membership,
            self._mark.index,
            heard=[
                n
                for n in (self._node.name, *pipelines)
                if self.rounds.heartbeats.is_heard(n, now_ns)
                and not self.replication.is_repairing(n)
            ],
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
        peers = self._node.peers()
        self.replication.follow(peers, now_ns)
        self.rounds.heartbeats.follow(peers, now_ns)
        if self.handover.to not in self._membership.current.voters:
            self.handover.give_up()

    def _continue_change(self, now_ns: int) -> None:
        """The mark rose: take the next step of a change, if its last one is committed now."""
        configuration = self._change.committed(self._membership, self._mark.index)
        if configuration is None:
            return
        if configuration.joint:
            self._append_configuration(now_ns, settled(configuration))
            return
        if len(self.replication.pipelines) != len(self._node.peers()):
            self.rounds.send(now_ns)  # the members that left learn that it is committed
            self._follow_configuration(now_ns)
        if self._node.name not in configuration.voters:
            self._retire(now_ns)

    def _retire(self, now_ns: int) -> None:
        """This leader is no member any more: let the best of the others take over at once."""
        heir = self.best_successor(now_ns)
        if heir:
            self._node.send_durably(heir, TimeoutNow(self.generation))
        self._out.note("left", generation=self.generation, heir=heir)
        self.over = True


class Following:
    """A node's side of the log while another node leads: entries taken, marks followed, answers.

    Args:
        node: the parts of the node. While it is damaged, what it acknowledges does not count.
    """

    def __init__(self, node: LogNode) -> None:
        self._node, self._repair = node, node.repair
        self._clock, self._log, self._writes = node.clock, node.log, node.writes
        self._mark, self._membership = node.mark, node.membership
        self._snapshots, self._out = node.snapshots, node.outbox
        self._handlers: dict[type, Callable[[NodeId, Any], bool]] = {
            AppendEntries: self._on_append,
            Heartbeat: self._on_heartbeat,
            InstallSnapshot: self._on_install_snapshot,
        }
        node.repair.note(node.outbox)

    def on_message(self, source: NodeId, message: Message) -> bool:
        """The leader of this node's generation sent one of ``FROM_LEADERS``.

        Returns:
            Whether this node may have become a voter or a learner by it.
        """
        changed = self._handlers[type(message)](source, message)
        if self._repair.damage is not None:
            self.continue_repair()
        return changed

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
        self._node.send_durably(source, reply)

    # -- damage ------------------------------------------------------------------------------------

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
        if repair.damage is None or self._node.end_repair(io_id):
            return
        if not repair.ending:
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
            self._node.send_durably(source, refusal)
            return False
        changed = self.bring_in_line(previous, message.entries, message.high_water_mark)
        last = previous + len(message.entries)
        self._repair.shares(generation, last)
        reply = AppendReply(generation, True, last, previous, recovering=self._repair.recovering)
        self._node.send_durably(source, reply, after=self._writes.after_index(last))
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
                    f"{self._node.name}: the leader of generation {self._clock.generation} differs "
                    f"at {first}, but everything up to {self._mark.index} is committed"
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
        self._node.send_durably(source, HeartbeatReply(generation, message.round))
        if self._repair.recovering:
            self._node.send_durably(source, Recovering(generation, last))
        return changed

    # -- snapshots ---------------------------------------------------------------------------------

    def _on_install_snapshot(self, source: NodeId, message: InstallSnapshot) -> bool:
        generation, mark = self._clock.generation, self._mark.index
        if not self._snapshots.accepts_snapshot(message.index, mark):
            # What is committed here equals the leader's log; say how far that is durable.
            index = max(min(mark, self._writes.durable_index), message.index)
            reply = SnapshotReply(generation, index, 0, True, self._repair.recovering)
            self._node.send_durably(source, reply, after=self._writes.after_index(index))
            return False
        snapshot = self._snapshots.receive(source, message)
        recovering = self._repair.recovering
        if snapshot is None:
            received = self._snapshots.received_bytes
            partly = SnapshotReply(generation, message.index, received, False, recovering)
            self._node.send_durably(source, partly)
            return False
        after = self._install(snapshot)
        self._repair.shares(generation, snapshot.index)
        whole = SnapshotReply(generation, snapshot.index, 0, True, recovering)
        self._node.send_durably(source, whole, after=after)
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
        self._out.restored = snapshot
        self._out.note("snapshot-installed", index=index, kept_log=agrees)
        return self._writes.snapshot(snapshot, keep_from=index + 1, reset_log=not agrees)
