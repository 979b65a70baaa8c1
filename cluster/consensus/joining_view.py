"""Joining a view: how a replica's log comes to be that of a view, and its name on the disk.

Three replicas need this: one that was away when a view started, one without a memory, and the
primary of a view that is about to start, whose log is elsewhere. The first two are done when their
log ends with entries of the view, the last when it has all of the log that was chosen.

Durability order. The log of a view is durable before the last normal view that names it: a crash
between the two leaves an old name on a new log, which is safe, and never a new name on an old log.
The acknowledgement that follows waits for both.

:class:`ReplicaState` is what this module and ``views`` share: where a replica stands.

Source: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), 5.2. Bookkeeping and rules
of the transfer are in ``state_transfer``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.consensus.leader_and_followers import Following
from cluster.consensus.log_node import LogNode
from cluster.consensus.state_transfer import StateTransfer
from cluster.consensus.view_change import ViewChange
from cluster.ports import NodeId
from cluster.wire import (
    AppendEntries,
    AppendReply,
    GetState,
    Heartbeat,
    InstallSnapshot,
    Message,
    NewState,
    RecoveryResponse,
    SnapshotReply,
    StartView,
)


class ReplicaState:
    """Where a replica stands: its parts, and what it knows of the primary.

    Args:
        node: the parts of the replica.
        voters: the configuration, sorted.
    """

    __slots__ = (
        "clock", "is_voter", "leader", "leads", "log", "mark", "node", "now_ns", "out", "peers",
        "remembers", "repair", "snapshots", "writes",
    )  # fmt: skip

    def __init__(self, node: LogNode, voters: Sequence[NodeId]) -> None:
        self.node = node
        self.is_voter = node.name in voters
        self.peers = tuple(voter for voter in voters if voter != node.name)
        self.clock, self.log, self.writes = node.clock, node.log, node.writes
        self.mark, self.snapshots, self.out = node.mark, node.snapshots, node.outbox
        self.repair = node.repair
        self.now_ns = 0
        #: who leads, as far as this replica knows
        self.leader: NodeId = ""
        #: whether this replica leads
        self.leads = False
        #: whether this replica has a memory to stand by; without one it takes part in nothing
        self.remembers = True

    @property
    def is_normal(self) -> bool:
        """Whether this replica is part of its view: its log is a prefix of the primary's."""
        view, adopted = self.clock.generation, self.clock.adopted
        assert adopted <= view, f"the last normal view {adopted} is after view {view}"
        return 0 < adopted == view

    @property
    def changes_view(self) -> bool:
        """Whether this replica has left its last normal view, and is part of no later one yet."""
        return self.clock.generation > self.clock.adopted

    def memory(self, nonce: int) -> RecoveryResponse:
        """What this replica can tell one that has no memory. The view that one without a memory
        itself fetches is none that it has entered; one with a damaged log knows how far it went."""
        damage = self.repair.damage
        last = self.log.last_index if damage is None else max(self.log.last_index, damage.index)
        asking = not (self.remembers and self.repair.takes_part())
        view, normal = self.clock.generation, self.clock.adopted
        if not self.remembers:
            view = normal = 0
        return RecoveryResponse(view, nonce, normal, last, self.leads, asking)

    def adopt(self) -> None:
        """This log is that of the view: its name follows it to the disk."""
        self.clock.adopted = self.clock.generation
        self.node.persist_clock()

    def send_all(self, message: Message) -> None:
        """Send to every other voter, once the view is durable."""
        for peer in self.peers:
            self.node.send_durably(peer, message)


class Joining:
    """One replica's way into a view.

    Args:
        state: where the replica stands.
        following: takes entries, marks and snapshots over.
        change: who the primary is, and when it was heard.
        transfer: what is fetched, and served to others.
    """

    __slots__ = (
        "_at_least", "_change", "_following", "_state", "_until", "is_complete", "transfer",
    )  # fmt: skip

    def __init__(
        self,
        state: ReplicaState,
        following: Following,
        change: ViewChange,
        transfer: StateTransfer,
    ) -> None:
        self._state = state
        self._following = following
        self._change = change
        self.transfer = transfer
        self._until = self._at_least = 0
        #: whether all of a chosen log is here; looked at by the owner
        self.is_complete = False

    @property
    def fetches(self) -> bool:
        """Whether something is fetched."""
        return self.transfer.source != ""

    def begin(self, source: NodeId, *, until: int = 0, at_least: int = 0) -> None:
        """Fetch from a replica what follows the commit number.

        Args:
            source: the primary of a view that has started, or whose log was chosen for this one.
            until: where the chosen log ends; 0 to fetch until the view is joined.
            at_least: the index that must be here before the view is joined.
        """
        self._until, self._at_least = until, at_least
        self._begin_transfer(source)

    def _begin_transfer(self, source: NodeId) -> None:
        self.transfer.begin(source, self._state.log, self._state.mark.index)
        self.fetch()

    def fetch(self) -> None:
        """Ask for the next piece, or again for the last."""
        state = self._state
        question = self.transfer.ask(state.clock.generation, state.now_ns)
        state.out.send(self.transfer.source, question)

    def end(self) -> None:
        """Another view was entered, or this one is joined."""
        self.transfer.end()
        self._until, self._at_least, self.is_complete = 0, 0, False

    # -- the primary of a view that has started ----------------------------------------------------

    def on_primary(self, source: NodeId, message: Message) -> None:
        """The primary of this view speaks: follow, or fetch what is missing for that.

        A replica that is not part of the view yet still answers heartbeats: it has promised to take
        part in no earlier view, and that is all a heartbeat asks.
        """
        state, kind = self._state, type(message)
        if source != self._change.primary_of(state.clock.generation):
            return
        state.leader = source
        self._change.heard_primary(state.now_ns)
        if kind is Heartbeat or (state.is_normal and kind is not StartView):
            self._following.on_message(source, message)
        if not state.is_normal and not self.fetches:
            self.begin(source)

    def on_entries(self, source: NodeId, message: AppendEntries | StartView) -> None:
        """Entries of this view: the first that a replica can take make it part of the view."""
        state = self._state
        previous = message.prev_index, message.prev_generation
        is_primary = source == self._change.primary_of(state.clock.generation)
        if is_primary and not state.is_normal and state.log.matches(*previous):
            mark = message.high_water_mark
            self._following.bring_in_line(message.prev_index, message.entries, mark)
            if self._try_to_join(source):
                return
        self.on_primary(source, message)

    def _try_to_join(self, source: NodeId) -> bool:
        """Be part of the view, if the log ends with entries of it: then nothing else is left."""
        state = self._state
        view, last = state.clock.generation, state.log.last_index
        if state.log.last_generation != view or last < self._at_least:
            return False
        state.adopt()
        self.end()
        state.leader, state.remembers = source, True
        self._change.heard_primary(state.now_ns)
        state.out.note("view-entered", generation=view, index=last)
        reply = AppendReply(view, True, last, last)
        state.out.send(source, reply, after=state.writes.after_index(last))
        return True

    # -- fetching ----------------------------------------------------------------------------------

    def on_new_state(self, source: NodeId, message: NewState) -> None:
        """A piece of the log that is fetched."""
        state, transfer = self._state, self.transfer
        if state.is_normal or not transfer.takes(source, message):
            return
        entries, previous = message.entries, message.prev_index
        self._following.bring_in_line(previous, entries, message.high_water_mark)
        further = transfer.took(previous + len(entries))
        self._change.arm(state.now_ns)
        if 0 < self._until <= transfer.at:
            self.is_complete = True
        elif further and (self._until or not self._try_to_join(source)):
            self.fetch()

    def on_snapshot(self, source: NodeId, message: InstallSnapshot) -> None:
        """A piece of a snapshot, from where the log was gone, or from the primary that is
        followed."""
        state = self._state
        if source != self.transfer.source:
            self.on_primary(source, message)
            return
        if not self.transfer.takes_chunk(message.index):
            return
        before = state.snapshots.index
        self._following.on_message(source, message)
        self._change.arm(state.now_ns)
        if state.snapshots.index > before:
            self._begin_transfer(source)
        else:
            self.transfer.wait(state.now_ns)

    # -- serving -----------------------------------------------------------------------------------

    def serve(self, source: NodeId, message: GetState | SnapshotReply) -> None:
        """Another replica of the view fetches, or has a piece of a snapshot."""
        state = self._state
        if type(message) is SnapshotReply:
            answer: Message | None = self.transfer.next_chunk(source, message)
        else:
            assert type(message) is GetState
            answer = self.transfer.answer(
                source,
                message,
                log=state.log,
                mark=state.mark.index,
                newest=state.snapshots.newest,
            )
        if answer is not None:
            state.node.send_durably(source, answer)
