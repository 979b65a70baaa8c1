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

An acceptor may hold leftovers of an older ballot above the last slot. No promise named them, so
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

from cluster.consensus.handover import Handover
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.leader_rounds import LeaderRounds
from cluster.consensus.log_node import LogNode
from cluster.consensus.phase_two import PhaseTwo
from cluster.consensus.read_index import ReadIndex
from cluster.consensus.slots import NOOP, Slots
from cluster.ports import NodeId
from cluster.wire import (
    Accepted,
    CatchUp,
    Entry,
    HeartbeatReply,
    Message,
    Promise,
    SnapshotReply,
)
from cluster.wire import ReadIndex as ReadIndexRequest


class Proposer:
    """One node's leadership under one ballot; phase 1 is done, and its outcome is in the log.

    After each call the owner looks at :attr:`over`.

    Args:
        node: the parts of the node.
        ballot: the one it leads under.
        slots: what the node has accepted.
        phase_two: the acceptors' pipelines, and what each has accepted.
        rounds: the heartbeat rounds.
        reads: the reads that wait for a round.
    """

    def __init__(
        self,
        node: LogNode,
        ballot: int,
        *,
        slots: Slots,
        phase_two: PhaseTwo,
        rounds: HeartbeatRounds,
        reads: ReadIndex,
    ) -> None:
        self.ballot = ballot
        #: whether it ended by itself: no quorum was heard
        self.over = False
        self.phase_two = phase_two
        self.rounds = LeaderRounds(
            node, ballot, phase_two.pipelines, heartbeats=rounds, reads=reads
        )
        self.handover = Handover(node, ballot, rounds)
        self._node = node
        self._log, self._mark, self._out = node.log, node.mark, node.outbox
        self._slots = slots
        self._handlers: dict[type, Callable[[int, NodeId, Any], None]] = {
            Accepted: self._on_accepted,
            CatchUp: self._on_catch_up,
            Promise: self._on_late_promise,
            HeartbeatReply: self._on_heartbeat_reply,
            SnapshotReply: self._on_snapshot_reply,
            ReadIndexRequest: self.rounds.forwarded,
        }

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """A round of heartbeats, and what phase 1 found is proposed."""
        first, last = self._mark.index + 1, self._log.last_index
        self._out.note(
            "leader-elected", generation=self.ballot, index=last + 1, open=last + 1 - first
        )
        self.rounds.send(now_ns)
        self._send_all(now_ns)
        self.advance(now_ns)

    def end(self, generation: int) -> None:
        """Leadership is lost; ``generation`` is the ballot promised by now, which answers carry."""
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
            self._node.electorate(), durable_index=self._node.writes.durable_index
        )
        self._mark.advance(chosen, self._log, self.ballot)
        self.rounds.mark_rose(now_ns)

    # -- answers -----------------------------------------------------------------------------------

    def _on_accepted(self, now_ns: int, source: NodeId, message: Accepted) -> None:
        if self.phase_two.accepted(source, message, now_ns):
            self.advance(now_ns)
            self._continue_handover(source)
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
        self.rounds.answered(now_ns, source, message.round)
        self._out.effects += self.phase_two.repair(
            source, now_ns, self._mark.index, self._node.snapshots.newest
        )

    def _on_snapshot_reply(self, now_ns: int, source: NodeId, message: SnapshotReply) -> None:
        if not message.installed:
            self._out.effects += self.phase_two.progressed(source, message, now_ns)
            return
        if self.phase_two.installed(source, message.index, now_ns):
            self.advance(now_ns)
        self._send(now_ns, source)

    def _send(self, now_ns: int, peer: NodeId) -> None:
        self._out.effects += self.phase_two.send(
            peer, now_ns, self._mark.index, self._node.snapshots.newest
        )

    def _send_all(self, now_ns: int) -> None:
        self._out.effects += self.phase_two.send_all(
            now_ns, self._mark.index, self._node.snapshots.newest
        )

    # -- handing over ------------------------------------------------------------------------------

    def transfer_to(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a voter, which must first have everything; False if not possible."""
        if not self.handover.begin(now_ns, to):
            return False
        self._continue_handover(to)
        return True

    def _continue_handover(self, peer: NodeId) -> None:
        self.handover.caught_up(peer, self.phase_two.pipelines[peer].match)

    def best_successor(self, now_ns: int) -> NodeId:
        """The other voter that is heard and has accepted most; "" if there is none."""
        best, most = "", -1
        for peer, pipeline in self.phase_two.pipelines.items():
            if pipeline.match > most and self.rounds.heartbeats.is_heard(peer, now_ns):
                best, most = peer, pipeline.match
        return best
