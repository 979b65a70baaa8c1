"""Phase 2: proposals on their way to the acceptors, and which slots are chosen.

Problem. Acceptors stand at different places, messages get lost, and a proposer that waits for each
answer is slow.

Solution. Proposals are sent to each acceptor as far as its window allows (Request Pipeline), in
batches (Request Batch), before they are durable on the proposer. An acceptor answers which slots it
accepted; a slot is chosen once a majority has accepted it under this ballot. Slots are counted each
by itself, so a lost message holds up its own slots only. The high-water mark stops below the first
slot that is not chosen.

What an acceptor misses is found from ``agreed`` in its answers: it is sent again, or, where the
entries are gone, the snapshot is (Install Snapshot). An acceptor that was restarted remembers what
it accepted and not what was chosen. It says so (CatchUp) and is sent the values again; its earlier
answers still count.

Invariants. Only answers to this ballot count, each acceptor once per slot, and this node only for
what it has durable. A message carries values under this ballot, whatever ballot chose them.

What breaks without it. A11: fewer than a majority choose a value that others do not know. A23c: a
mark that jumps over a slot lets a command be executed before the one below it.

Source: Lamport, "Paxos Made Simple" (2001), 2.2 and 3; Joshi, "Request Pipeline". One leadership's
sending side; used by the Multi-Paxos core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.channel.request_batch import batch_entries
from cluster.channel.request_pipeline import RequestPipeline
from cluster.config import ClusterConfig
from cluster.consensus.install_snapshot import SnapshotTransfers
from cluster.consensus.majority_quorum import quorum_size
from cluster.consensus.membership import Configuration, agreed_value
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.consensus.slots import under
from cluster.ports import NodeId, Send
from cluster.wire import Accept, Accepted, Snapshot, SnapshotReply


class PhaseTwo:
    """What each acceptor has accepted under one ballot, and what is under way to it.

    Args:
        node: the proposer.
        ballot: its ballot.
        log: its log; every slot above its high-water mark holds what is proposed under the ballot.
        peers: the other acceptors.
        marks: for those that promised, the slot up to which they know all to be chosen.
        config: window, batch and chunk sizes, and when to suspect a loss.
        now_ns: when phase 2 begins.
    """

    __slots__ = (
        "_accepted", "_ballot", "_beyond", "_config", "_log", "_node", "_placed", "_shared",
        "_shared_key", "_transfers", "pipelines",
    )  # fmt: skip

    def __init__(
        self,
        node: NodeId,
        ballot: int,
        log: ReplicatedLog,
        peers: Sequence[NodeId],
        marks: Mapping[NodeId, int],
        *,
        config: ClusterConfig,
        now_ns: int,
    ) -> None:
        self._node = node
        self._ballot = ballot
        self._log = log
        self._config = config
        self.pipelines: dict[NodeId, RequestPipeline] = {}
        #: per acceptor, the slot up to which it has accepted everything, or knew it to be chosen
        self._accepted: dict[NodeId, int] = {node: 0}
        #: per acceptor, slots accepted above that
        self._beyond: dict[NodeId, set[int]] = {}
        #: the acceptors of which it is known where they are
        self._placed: set[NodeId] = set()
        self._transfers = SnapshotTransfers(node, ballot, log, self.pipelines, config)
        self._shared: Accept | None = None
        self._shared_key = (0, 0, 0)
        for peer in peers:
            self._accepted[peer], self._beyond[peer] = 0, set()
            self.pipelines[peer] = self._pipeline(log.last_index + 1, now_ns)
            if peer in marks:
                self._place(peer, marks[peer], now_ns)

    # -- decisions ---------------------------------------------------------------------------------

    def is_chosen(self, slot: int, electorate: Configuration) -> bool:
        """Decision: whether a majority has accepted a slot."""
        having = [node for node in electorate.voters if self._has(node, slot)]
        return len(having) >= quorum_size(len(electorate.voters))

    def chosen_up_to(self, electorate: Configuration, *, durable_index: int) -> int:
        """Decision: the slot up to which this proposer's log is chosen, with no gap."""
        self._accepted[self._node] = durable_index
        slot = agreed_value(electorate, self._accepted)
        while any(self._beyond.values()) and self.is_chosen(slot + 1, electorate):
            slot += 1
        return slot

    def _has(self, node: NodeId, slot: int) -> bool:
        return slot <= self._accepted.get(node, 0) or slot in self._beyond.get(node, ())

    # -- sending -----------------------------------------------------------------------------------

    def send_all(self, now_ns: int, mark: int, snapshot: Snapshot | None) -> list[Send]:
        """Send every acceptor what it misses, as far as its window allows.

        Args:
            now_ns: the time.
            mark: the proposer's high-water mark.
            snapshot: the newest one, for acceptors that need entries which are gone.
        """
        sends: list[Send] = []
        for peer in self.pipelines:
            sends += self.send(peer, now_ns, mark, snapshot)
        return sends

    def send(
        self, peer: NodeId, now_ns: int, mark: int, snapshot: Snapshot | None
    ) -> Sequence[Send]:
        """Send one acceptor what it misses; arguments as for :meth:`send_all`."""
        pipeline, last = self.pipelines[peer], self._log.last_index
        if pipeline.next > last or peer in self._transfers:
            return ()
        sends: list[Send] = []
        while pipeline.next <= last and pipeline.can_send():
            message = self._accept_from(pipeline.next, mark)
            if message is None:
                sends.append(self._transfers.begin(peer, snapshot, now_ns))
                break
            sends.append(Send(peer, message))
            pipeline.sent(message.entries[-1].index, now_ns)
        return sends

    def repair(
        self, peer: NodeId, now_ns: int, mark: int, snapshot: Snapshot | None
    ) -> Sequence[Send]:
        """An acceptor lives; if it accepts nothing, find out whether something was lost."""
        pipeline = self.pipelines[peer]
        if peer in self._transfers:
            return self._transfers.repeat(peer, now_ns)
        if peer in self._placed and not pipeline.stalled(now_ns, self._config.heartbeat_ns):
            return self.send(peer, now_ns, mark, snapshot)
        pipeline.touched_ns = now_ns
        if pipeline.probing and pipeline.next <= self._log.last_index:
            pipeline.reset(pipeline.next)
            return self.send(peer, now_ns, mark, snapshot)
        return (Send(peer, Accept(self._ballot, pipeline.next, (), mark)),)

    def _accept_from(self, slot: int, mark: int) -> Accept | None:
        """The message with proposals from a slot on; None if they are gone."""
        key = (slot, self._log.last_index, mark)
        if self._shared is not None and self._shared_key == key:
            return self._shared
        if slot < self._log.first_index:
            return None
        config, ballot = self._config, self._ballot
        found = self._log.between(slot, slot + config.batch_entries_max - 1)
        found = batch_entries(found, bytes_max=config.batch_bytes_max)
        entries = tuple([under(ballot, entry) for entry in found])
        self._shared_key, self._shared = key, Accept(ballot, slot, entries, mark)
        return self._shared

    # -- answers -----------------------------------------------------------------------------------

    def accepted(self, peer: NodeId, message: Accepted, now_ns: int) -> bool:
        """An acceptor answered; whether it has accepted something more."""
        end = self._log.last_index
        news = self._count(peer, message.first, min(message.last, end), min(message.agreed, end))
        pipeline, behind = self.pipelines[peer], message.agreed < message.first - 1
        if peer not in self._transfers:
            lost = pipeline.probing or message.last < message.first
            if behind and lost:
                pipeline.refused(message.first - 1, message.agreed + 1)
                self._placed.add(peer)
            elif pipeline.acknowledged(min(message.agreed, end), now_ns) or not behind:
                self._placed.add(peer)
        return news

    def _count(self, peer: NodeId, first: int, last: int, agreed: int) -> bool:
        beyond, before = self._beyond[peer], self._accepted[peer]
        known = len(beyond)
        if last > before:
            beyond.update(range(max(first, before + 1), last + 1))
        grown = len(beyond) > known
        if agreed > before:
            self._accepted[peer] = agreed
        if beyond:
            self._beyond[peer] = {slot for slot in beyond if slot > self._accepted[peer]}
        return grown or agreed > before

    def installed(self, peer: NodeId, index: int, now_ns: int) -> bool:
        """An acceptor has a snapshot, or needs none; whether what it has is news."""
        self._transfers.installed(peer, index)
        index = min(index, self._log.last_index)
        self._placed.add(peer)
        news = self._count(peer, index + 1, index, index)
        return self.pipelines[peer].acknowledged(index, now_ns) or news

    def progressed(self, peer: NodeId, message: SnapshotReply, now_ns: int) -> Sequence[Send]:
        """An acceptor has part of a snapshot: send the next chunk."""
        return self._transfers.progressed(peer, message, now_ns)

    def promised(self, peer: NodeId, mark: int, now_ns: int) -> None:
        """An acceptor's promise came when a majority had promised already: it tells where it is."""
        if peer not in self._placed:
            self._place(peer, mark, now_ns)

    def forgot(self, peer: NodeId, agreed: int, now_ns: int) -> None:
        """An acceptor knows what was chosen up to ``agreed`` only: send it again from there."""
        pipeline = self.pipelines[peer]
        skips = not pipeline.in_flight and agreed + 1 < pipeline.next
        if peer not in self._transfers and (agreed < pipeline.match or skips):
            self.pipelines[peer] = self._pipeline(agreed + 1, now_ns)
            self.pipelines[peer].acknowledged(agreed, now_ns)

    def _pipeline(self, next_index: int, now_ns: int) -> RequestPipeline:
        return RequestPipeline(next_index, window=self._config.inflight_max, now_ns=now_ns)

    def _place(self, peer: NodeId, mark: int, now_ns: int) -> None:
        mark = min(mark, self._log.last_index)
        self._accepted[peer] = max(mark, self._accepted[peer])
        self.pipelines[peer] = self._pipeline(mark + 1, now_ns)
        self.pipelines[peer].acknowledged(mark, now_ns)
        self._placed.add(peer)
