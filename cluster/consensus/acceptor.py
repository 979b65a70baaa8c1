"""Acceptor: the node's memory in Paxos. It promises, it accepts, and it never takes either back.

Problem. Proposers come, go and overtake each other, and no single node decides. What is decided
must still be decided once.

Solution. An acceptor promises a ballot: it takes part in no lower one any more. With the promise it
tells what it has accepted so far, so that the proposer carries that on. It accepts a proposal
unless it has promised a higher ballot. A value that a majority has accepted under one ballot is
chosen: any later proposer hears of it from a majority, and proposes nothing else.

The promise is the node's generation (Generation Clock); what is accepted is kept in ``slots``. Both
are durable before an answer leaves. Multi-Paxos has one promise for all slots: a proposer prepares
once, for every slot from the first one on that it does not know to be chosen.

An acceptor with a damaged disk knows what it promised, and no longer all that it accepted. It goes
on accepting, and promises nothing, until it has accepted again in every slot concerned
(``damage_repair``).

An acceptor that has dropped slots behind a snapshot cannot tell what it accepted there. It promises
nothing to a proposer that asks for them: that one is behind, and needs the snapshot, from a leader.

Invariants. The promised ballot never goes down. Nothing is accepted under a lower one. An answer
that claims a promise or an accepted value leaves after that is durable.

What breaks without it. A20b: an acceptor that accepts lower ballots lets two values be chosen. A20,
A20c: a promise, or an accepted value, that a crash undoes. A21c: a promise over slots that were
dropped. A23: see ``slots``.

Source: Lamport, "Paxos Made Simple" (2001), sections 2.2 and 3. A node's side while another leads,
and the answer to every Prepare; used by the Multi-Paxos core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cluster.channel.request_batch import batch_entries
from cluster.consensus.log_node import LogNode
from cluster.consensus.slots import HOLE, Slots
from cluster.ports import NodeId
from cluster.wire import (
    Accept,
    Accepted,
    CatchUp,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    Prepare,
    Promise,
    ReadIndex,
    ReadIndexReply,
    Snapshot,
    SnapshotReply,
)

#: What only a leader sends.
FROM_LEADERS: Final = frozenset({Accept, Heartbeat, InstallSnapshot})


class Acceptor:
    """One node's acceptor.

    Args:
        node: the parts of the node. While it is damaged, its owner promises nothing.
        slots: what is accepted.
    """

    def __init__(self, node: LogNode, slots: Slots) -> None:
        self._node, self._slots, self._repair = node, slots, node.repair
        self._clock, self._log, self._writes = node.clock, node.log, node.writes
        self._mark, self._snapshots, self._out = node.mark, node.snapshots, node.outbox
        self._handlers: dict[type, Callable[[NodeId, Any], None]] = {
            Accept: self._on_accept,
            Heartbeat: self._on_heartbeat,
            InstallSnapshot: self._on_install_snapshot,
        }

    # -- decisions ---------------------------------------------------------------------------------

    def may_promise(self, ballot: int, promised: int) -> bool:
        """Decision: whether a ballot may be promised. The one promised may be promised again."""
        return ballot >= promised

    def may_accept(self, ballot: int, promised: int) -> bool:
        """Decision: whether a proposal under a ballot may be accepted."""
        return ballot >= promised

    def can_tell(self, first: int) -> bool:
        """Decision: whether what was accepted from a slot on is all still here."""
        return first >= self._log.first_index

    def after_promise(self) -> int:
        """Decision: the write that a promise waits for."""
        return self._writes.after_hard_state

    def after_accepting(self, last: int) -> int:
        """Decision: the write that an answer about the slots up to ``last`` waits for."""
        return self._writes.after_index(last)

    # -- promises ----------------------------------------------------------------------------------

    def grants(self, message: Prepare) -> bool:
        """Whether a proposer gets, or with ``probe`` would get, the promise it asks for."""
        ballot, promised = message.generation, self._clock.generation
        if not self.can_tell(message.first):
            return False
        return ballot > promised if message.probe else self.may_promise(ballot, promised)

    def promise(self, ballot: int) -> None:
        """Promise a higher ballot: nothing is accepted under it yet."""
        self._clock.advance(ballot)
        self._slots.begin()
        self._writes.hard_state(self._slots.hard_state())

    def takes_past(self, message: Message) -> bool:
        """Whether a message of a lower ballot is taken all the same."""
        if type(message) is Promise:
            return message.probe
        ballot, promised = message.generation, self._clock.generation
        return type(message) is Accept and self.may_accept(ballot, promised)

    def answer_prepare(self, source: NodeId, message: Prepare, *, granted: bool) -> None:
        """Answer; if granted, the ballot is promised by now."""
        first, end = message.first, self._log.last_index
        part: list[Any] = []
        if granted and not message.probe:
            config = self._node.config
            found = self._slots.reported(first, config.batch_entries_max)
            part = batch_entries(found, bytes_max=config.batch_bytes_max)
        promise = Promise(
            generation=self._clock.generation,
            asked=message.generation,
            granted=granted,
            probe=message.probe,
            first=first,
            accepted=tuple([entry for entry in part if entry.kind != HOLE]),
            told=part[-1].index if part else first - 1,
            end=end,
            high_water_mark=self._mark.index,
        )
        self._out.send(source, promise, after=self.after_promise())

    # -- the leader's messages ---------------------------------------------------------------------

    def on_message(self, source: NodeId, message: Message) -> None:
        """The proposer of the promised ballot sent one of ``FROM_LEADERS``."""
        self._handlers[type(message)](source, message)
        self._continue_repair(message.generation)

    def refuse(self, source: NodeId, message: Message) -> None:
        """Answer a message of a lower ballot, or one that only a leader can serve: the sender
        learns the ballot that is promised. Answers are not answered."""
        generation, kind = self._clock.generation, type(message)
        reply: Message
        if kind is Accept:
            first = message.first  # type: ignore[union-attr]
            reply = Accepted(generation, first, first - 1, 0, 0)
        elif kind is Heartbeat:
            reply = HeartbeatReply(generation, 0)
        elif kind is InstallSnapshot:
            reply = SnapshotReply(generation, message.index, 0, False)  # type: ignore[union-attr]
        elif kind is ReadIndex:
            reply = ReadIndexReply(generation, message.id, 0)  # type: ignore[union-attr]
        else:
            return
        self._node.send_durably(source, reply)

    def _on_accept(self, source: NodeId, message: Accept) -> None:
        ballot, slots, entries = message.generation, self._slots, message.entries
        last = message.first - 1
        if entries and slots.in_reach(message.first):
            slots.accept(ballot, entries)
            last = entries[-1].index
        agreed = slots.agreed(ballot)
        self._mark.follow(message.high_water_mark, agreed, self._log)
        reply = Accepted(ballot, message.first, last, agreed, self._end)
        self._out.send(source, reply, after=self.after_accepting(max(last, agreed)))

    def _on_heartbeat(self, source: NodeId, message: Heartbeat) -> None:
        agreed = self._slots.agreed(message.generation)
        self._mark.follow(message.high_water_mark, agreed, self._log)
        self._node.send_durably(source, HeartbeatReply(self._clock.generation, message.round))
        lacks = self._repair.recovering and agreed < self._end
        if message.high_water_mark > agreed or lacks:
            self._node.send_durably(source, CatchUp(self._clock.generation, agreed))
        if lacks:  # and nothing may be under way that fills the slots up to the last that was lost
            told = Accepted(self._clock.generation, agreed + 1, agreed, agreed, self._end)
            self._node.send_durably(source, told, after=self.after_accepting(agreed))

    # -- damage ------------------------------------------------------------------------------------

    @property
    def _end(self) -> int:
        """The last slot in which something is, or may have been, accepted."""
        damage = self._repair.damage
        return self._log.last_index if damage is None else max(self._log.last_index, damage.slot)

    def _continue_repair(self, ballot: int) -> None:
        """Write down that the damage is repaired, if all that was lost is accepted again."""
        repair = self._repair
        if repair.damage is None or repair.ending:
            return
        if repair.is_overwritten(self._slots.agreed(ballot)):
            repair.end_with(self._writes.repaired())

    # -- snapshots ---------------------------------------------------------------------------------

    def _on_install_snapshot(self, source: NodeId, message: InstallSnapshot) -> None:
        ballot, mark = self._clock.generation, self._mark.index
        if not self._snapshots.accepts_snapshot(message.index, mark):
            index = max(min(mark, self._writes.durable_index), message.index)
            reply = SnapshotReply(ballot, index, 0, True)
            self._node.send_durably(source, reply, after=self._writes.after_index(index))
            return
        snapshot = self._snapshots.receive(source, message)
        if snapshot is None:
            received = self._snapshots.received_bytes
            self._node.send_durably(source, SnapshotReply(ballot, message.index, received, False))
            return
        after = self._install(snapshot)
        self._node.send_durably(source, SnapshotReply(ballot, snapshot.index, 0, True), after=after)

    def _install(self, snapshot: Snapshot) -> int:
        """Replace the state, and keep what is accepted above it; the write to wait for.

        Storage keeps a log only if it has the snapshot's last entry. What is accepted in that slot
        here may be of another ballot, so the snapshot is kept under the ballot that is here.
        """
        index, log = snapshot.index, self._log
        held = log.generation_at(index)
        if held is None:
            log.reset(index, snapshot.generation)
        else:
            log.compact(index)
            snapshot = Snapshot(
                index, held, snapshot.members, snapshot.data, snapshot.configuration
            )
        self._snapshots.install(snapshot)
        self._mark.install(index)
        self._out.restored = snapshot
        self._out.note("snapshot-installed", index=index, kept_log=held is not None)
        return self._writes.snapshot(snapshot, keep_from=index + 1, reset_log=held is None)
