"""Proposer: the leader of Multi-Paxos, while its ballot is the highest that a majority promised.

Problem. Paxos decides one slot in two round trips, and proposers that overtake each other decide
nothing.

Solution. One proposer stays. Its promises (phase 1) cover every slot, so each further slot takes
one round trip (phase 2), many slots share a message, and many messages are under way. It sends the
high-water mark along, so that acceptors execute what is chosen. Heartbeats keep the others from
standing (HeartBeat); rounds of them prove that no higher ballot was promised by a majority when a
read arrived (ReadIndex). A read also waits until the slots that phase 1 found open are chosen: an
earlier proposer may have answered for them. It hands over on request, to an acceptor that has
everything.

An acceptor may hold leftovers of an older ballot above the last slot. No promise told of them, so
they are not chosen and never will be: they are overwritten with no-ops.

Invariants. One value per slot and ballot. Nothing is proposed before phase 1 is done, and a
:class:`Proposer` exists only from then on. The mark rises by slots that a majority has accepted
under this ballot.

What breaks without it. A24: a proposer that reads what it knows to be chosen, without a round,
answers from the past. A24b: so does one that reads before the open slots are chosen.

Source: Lamport, "Paxos Made Simple" (2001), 3; van Renesse and Altinbuken, "Paxos Made Moderately
Complex" (2015), 4 (leases, state transfer). One leadership of the Multi-Paxos core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cluster.config import ClusterConfig
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots
from cluster.consensus.leader_and_followers import Transfer
from cluster.consensus.membership import Membership
from cluster.consensus.outbox import Outbox
from cluster.consensus.phase_two import PhaseTwo
from cluster.consensus.read_index import ReadIndex
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.slots import NOOP, Slots
from cluster.ports import NodeId
from cluster.wire import (
    Accepted,
    CatchUp,
    Entry,
    Heartbeat,
    HeartbeatReply,
    Message,
    Promise,
    ReadIndexReply,
    SnapshotReply,
    TimeoutNow,
)
from cluster.wire import ReadIndex as ReadIndexRequest


class Proposer:
    """One node's leadership under one ballot; phase 1 is done, and its outcome is in the log.

    After each call the owner looks at :attr:`over`.

    Args:
        node: this node.
        ballot: the one it leads under.
        config: timings and limits.
        log, slots, writes, mark, membership, snapshots, outbox: those of the node.
        phase_two, rounds, reads: those of the leadership.
    """

    def __init__(
        self,
        node: NodeId,
        ballot: int,
        *,
        config: ClusterConfig,
        log: ReplicatedLog,
        slots: Slots,
        writes: WriteOrder,
        mark: HighWaterMark,
        membership: Membership,
        snapshots: Snapshots,
        phase_two: PhaseTwo,
        rounds: HeartbeatRounds,
        reads: ReadIndex,
        outbox: Outbox,
    ) -> None:
        self.ballot = ballot
        #: whether it ended by itself: no quorum was heard
        self.over = False
        self.transfer: Transfer | None = None
        self.rounds = rounds
        self.phase_two = phase_two
        self._node = node
        self._config = config
        self._log = log
        self._slots = slots
        self._writes = writes
        self._mark = mark
        self._membership = membership
        self._snapshots = snapshots
        self._reads = reads
        self._out = outbox
        self._handlers: dict[type, Callable[[int, NodeId, Any], None]] = {
            Accepted: self._on_accepted,
            CatchUp: self._on_catch_up,
            Promise: self._on_late_promise,
            HeartbeatReply: self._on_heartbeat_reply,
            SnapshotReply: self._on_snapshot_reply,
            ReadIndexRequest: self._on_read_index,
        }

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """A round of heartbeats, and what phase 1 found is proposed."""
        first, last = self._mark.index + 1, self._log.last_index
        self._out.note(
            "leader-elected", generation=self.ballot, index=last + 1, open=last + 1 - first
        )
        self._send_round(now_ns)
        self._send_all(now_ns)
        self.advance(now_ns)

    def end(self, generation: int) -> None:
        """Leadership is lost: no read can be confirmed any more.

        Args:
            generation: the ballot the node has promised by now, which its answers carry.
        """
        self._out.note("stepped-down", generation=generation)
        after = self._writes.after_hard_state
        for token in self._reads.drain():
            if token >= 0:
                self._out.reads.append((token, 0))
            else:
                peer, id = self._reads.take_remote(token)
                self._out.send(peer, ReadIndexReply(generation, id, 0), after=after)

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
            self._out.note("lost-quorum", generation=self.ballot)
            self.over = True
            return
        self._send_round(now_ns)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A message under this ballot; those meant for acceptors are ignored."""
        handler = self._handlers.get(type(message))
        if handler is not None and source in self.phase_two.pipelines:
            handler(now_ns, source, message)

    def append(self, now_ns: int, data: Sequence[bytes], kind: str) -> int:
        """Propose values for the next slots, as one batch; the first of the slots."""
        ballot, first = self.ballot, self._log.last_index + 1
        entries = tuple([Entry(slot, ballot, kind, item) for slot, item in enumerate(data, first)])
        self._slots.write(entries)
        self._send_all(now_ns)
        return first

    def advance(self, now_ns: int) -> None:
        """Raise the mark to what is chosen, and serve the reads that waited for the open slots."""
        chosen = self.phase_two.chosen_up_to(
            self._membership.electorate(), durable_index=self._writes.durable_index
        )
        self._mark.advance(chosen, self._log, self.ballot)
        if self._reads.mark_is_current(self._mark.index):
            for token in self._reads.release_held():
                self._add_read(now_ns, token)

    # -- reads -------------------------------------------------------------------------------------

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> None:
        """Find a linearizable index; it is put into ``outbox.reads``, or sent to a follower."""
        if not self._reads.mark_is_current(self._mark.index):
            self._reads.hold(token)
        elif lease and self.lease_is_valid(now_ns):
            self._out.reads.append((token, self._mark.index))
        else:
            self._add_read(now_ns, token)

    def lease_is_valid(self, now_ns: int) -> bool:
        """Whether no other leader can exist yet, if clocks run at about the same rate."""
        return self.rounds.lease_is_valid(now_ns, self._membership.current)

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
                    self._out.send(peer, ReadIndexReply(self.ballot, id, index))
            if not self._reads.needs_round(self.rounds.sent):
                return
            self._send_round(now_ns)

    def _send_round(self, now_ns: int) -> None:
        """A new round of heartbeats; each carries the mark as far as the acceptor can follow it."""
        round, mark = self.rounds.next_round(now_ns), self._mark.index
        for peer, pipeline in self.phase_two.pipelines.items():
            self._out.send(peer, Heartbeat(self.ballot, round, min(mark, pipeline.match)))
        self.rounds.confirm(self._membership.electorate())

    # -- answers -----------------------------------------------------------------------------------

    def _on_accepted(self, now_ns: int, source: NodeId, message: Accepted) -> None:
        if self.phase_two.accepted(source, message, now_ns):
            self.advance(now_ns)
            self._continue_transfer(source)
        self._overwrite_or_send(now_ns, source, message.end)

    def _overwrite_or_send(self, now_ns: int, source: NodeId, end: int) -> None:
        """Send an acceptor what it misses; no-ops first, if it has leftovers up to ``end``."""
        leftovers = end - self._log.last_index
        if leftovers > 0:
            self.append(now_ns, (b"",) * leftovers, NOOP)
        else:
            self._send(now_ns, source)

    def _on_late_promise(self, now_ns: int, source: NodeId, message: Promise) -> None:
        if message.granted and message.asked == self.ballot:
            self.phase_two.promised(source, message.high_water_mark, now_ns)
            self._overwrite_or_send(now_ns, source, message.end)

    def _on_catch_up(self, now_ns: int, source: NodeId, message: CatchUp) -> None:
        self.phase_two.forgot(source, message.agreed, now_ns)
        self._send(now_ns, source)

    def _on_heartbeat_reply(self, now_ns: int, source: NodeId, message: HeartbeatReply) -> None:
        self.rounds.answered(source, message.round)
        self.rounds.confirm(self._membership.electorate())
        self._release_reads(now_ns)
        self._out.effects += self.phase_two.repair(
            source, now_ns, self._mark.index, self._snapshots.newest
        )

    def _on_snapshot_reply(self, now_ns: int, source: NodeId, message: SnapshotReply) -> None:
        if not message.installed:
            self._out.effects += self.phase_two.progressed(source, message, now_ns)
            return
        if self.phase_two.installed(source, message.index, now_ns):
            self.advance(now_ns)
        self._send(now_ns, source)

    def _on_read_index(self, now_ns: int, source: NodeId, message: ReadIndexRequest) -> None:
        self.read(now_ns, self._reads.remote_token(source, message.id))

    def _send(self, now_ns: int, peer: NodeId) -> None:
        self._out.effects += self.phase_two.send(
            peer, now_ns, self._mark.index, self._snapshots.newest
        )

    def _send_all(self, now_ns: int) -> None:
        self._out.effects += self.phase_two.send_all(
            now_ns, self._mark.index, self._snapshots.newest
        )

    # -- handing over ------------------------------------------------------------------------------

    def transfer_to(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a voter, which must first have everything; False if not possible."""
        if self.transfer or to == self._node or to not in self._membership.current.voters:
            return False
        self.transfer = Transfer(to, now_ns + self._config.election_max_ns)
        self._continue_transfer(to)
        return True

    def _continue_transfer(self, peer: NodeId) -> None:
        transfer = self.transfer
        if transfer is None or transfer.to != peer or transfer.asked:
            return
        if self.phase_two.pipelines[peer].match == self._log.last_index:
            # The target may win at any time from now on, however late the message arrives.
            transfer.asked = True
            self.rounds.void_lease()
            after = self._writes.after_hard_state
            self._out.send(peer, TimeoutNow(self.ballot), after=after)

    def best_successor(self, now_ns: int) -> NodeId:
        """The other voter that is heard and has accepted most; "" if there is none."""
        best, most = "", -1
        for peer, pipeline in self.phase_two.pipelines.items():
            if pipeline.match > most and self.rounds.is_heard(peer, now_ns):
                best, most = peer, pipeline.match
        return best
