"""Replication: how a leader gets its log to the followers.

Problem. Followers stand at different places, answer at different speeds, and messages get lost. A
leader that waits for each answer is slow; one that does not must notice what was lost.

Solution. Entries are sent as far as each follower's window allows (Request Pipeline), in batches
(Request Batch), before they are durable on the leader. A follower that refuses says where its log
could agree. A follower that answers heartbeats but acknowledges nothing is probed: something was
lost. A follower that needs entries which are gone gets the snapshot, in chunks (Install Snapshot).

A follower whose disk is damaged says so. It is sent what it misses like any other, from where its
log ends now, and its acknowledgements do not count until it is repaired (``damage_repair``).

Invariants. What a follower has acknowledged (its match) never goes down in one leadership, unless
its disk lost it, and is never beyond the leader's log. Followers at the same place are sent the
same message object, which a host encodes once.

What breaks without it. A55b: a follower that refused an entry never gets it. A19: an
acknowledgement of another leadership counts. A08b: a follower that was away too long never returns.

Source: Joshi, "Replicated Log", "Request Pipeline"; Raft paper 5.3, 7; Raft thesis 10.2. One
leadership's sending side, for a consensus core that replicates one log from one leader.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.channel.request_batch import batch_entries
from cluster.channel.request_pipeline import RequestPipeline
from cluster.config import ClusterConfig
from cluster.consensus.install_snapshot import SnapshotTransfers
from cluster.consensus.membership import Configuration, agreed_value
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.ports import NodeId, Send
from cluster.wire import AppendEntries, AppendReply, Snapshot, SnapshotReply


class Replication:
    """What each follower has, and what is under way to it, in one leadership.

    Args:
        node: the leader.
        generation: of the leadership.
        log: the leader's.
        peers: to whom the log is sent.
        config: window, batch and chunk sizes, and when to suspect a loss.
        now_ns: when the leadership begins.
        pipeline: the class of the followers' pipelines.
    """

    __slots__ = (
        "_bounds",
        "_config",
        "_generation",
        "_log",
        "_match",
        "_node",
        "_pipeline",
        "_repairing",
        "_shared",
        "_shared_key",
        "_transfers",
        "pipelines",
    )

    def __init__(
        self,
        node: NodeId,
        generation: int,
        log: ReplicatedLog,
        peers: Sequence[NodeId],
        *,
        config: ClusterConfig,
        now_ns: int,
        pipeline: type[RequestPipeline] = RequestPipeline,
    ) -> None:
        self._node = node
        self._pipeline = pipeline
        self._generation = generation
        self._log = log
        self._config = config
        self.pipelines: dict[NodeId, RequestPipeline] = {}
        self._match: dict[NodeId, int] = {node: 0}
        self._transfers = SnapshotTransfers(node, generation, log, self.pipelines, config)
        self._repairing: set[NodeId] = set()
        #: the last index that may be sent to a peer, where there is such a bound
        self._bounds: dict[NodeId, int] = {}
        self._shared: AppendEntries | None = None
        self._shared_key = (0, 0, 0)
        self.follow(peers, now_ns)

    def follow(self, peers: Sequence[NodeId], now_ns: int) -> None:
        """Send the log to these peers, and to no others, from now on."""
        for peer in peers:
            if peer not in self.pipelines:
                self.pipelines[peer] = self._pipeline(
                    self._log.last_index + 1, window=self._config.inflight_max, now_ns=now_ns
                )
                self._match[peer] = 0
        for peer in [peer for peer in self.pipelines if peer not in peers]:
            del self.pipelines[peer], self._match[peer]
            self._transfers.give_up(peer)
            self._repairing.discard(peer)
            self._bounds.pop(peer, None)

    def match(self, peer: NodeId) -> int:
        """The last index a peer has acknowledged."""
        return self._match[peer]

    def furthest(self, among: Iterable[NodeId]) -> NodeId:
        """The sound peer that has most of the log; "" if there is none."""
        wanted = set(among) - self._repairing
        sound = [peer for peer in self.pipelines if peer in wanted]
        return max(sound, key=lambda peer: self.pipelines[peer].match, default="")

    def quorum_index(self, electorate: Configuration, *, durable_index: int) -> int:
        """Decision: the last index that may be committed: what a quorum has durable, the leader's
        own log included."""
        self._match[self._node] = durable_index
        counted = self._match
        if self._repairing:
            counted = {peer: n for peer, n in counted.items() if peer not in self._repairing}
        return agreed_value(electorate, counted)

    # -- where a peer begins, and how far it is sent -----------------------------------------------

    def bound(self, peer: NodeId, last_index: int) -> None:
        """Send a peer no entry after an index, until :meth:`unbound`; -1: no snapshot either."""
        self._bounds[peer] = last_index

    def unbound(self, peer: NodeId) -> None:
        """Send a peer everything."""
        self._bounds.pop(peer, None)

    def begin_at(self, peer: NodeId, match_index: int | None, now_ns: int) -> None:
        """Begin anew with a peer whose durable log equals the leader's up to an index.

        Args:
            peer: which.
            match_index: the index; None if its log agrees nowhere that the leader still knows.
            now_ns: the time.
        """
        pipeline = self.pipelines[peer]
        self._transfers.give_up(peer)
        if match_index is None:
            pipeline.reset(max(pipeline.match + 1, self._log.base_index))
            return
        pipeline.reset(max(pipeline.match, match_index) + 1)
        self.acknowledged(peer, match_index, now_ns)

    # -- sending -----------------------------------------------------------------------------------

    def sends_snapshot_to(self, peer: NodeId) -> bool:
        """Whether a snapshot is under way to a follower."""
        return peer in self._transfers

    def send_all(self, now_ns: int, mark: int, snapshot: Snapshot | None) -> list[Send]:
        """Send every follower what it misses, as far as its window allows.

        Args:
            now_ns: the time.
            mark: the leader's high-water mark.
            snapshot: the newest one, for followers that need entries which are gone.
        """
        sends: list[Send] = []
        for peer in self.pipelines:
            sends += self.send(peer, now_ns, mark, snapshot)
        return sends

    def send(
        self, peer: NodeId, now_ns: int, mark: int, snapshot: Snapshot | None
    ) -> Sequence[Send]:
        """Send one follower what it misses; arguments as for :meth:`send_all`."""
        pipeline, last = self.pipelines[peer], self._log.last_index
        if pipeline.next > last or peer in self._transfers or not pipeline.can_send():
            return ()
        last = min(last, self._bounds.get(peer, last))
        if pipeline.next <= self._log.base_index:  # what precedes it is gone
            return self.send_snapshot(peer, snapshot, now_ns) if last >= 0 else ()
        sends: list[Send] = []
        while pipeline.next <= last and pipeline.can_send():
            message = self._append_from(pipeline.next, last, mark)
            sends.append(Send(peer, message))
            pipeline.sent(message.entries[-1].index, now_ns)
        return sends

    def send_snapshot(self, peer: NodeId, snapshot: Snapshot | None, now_ns: int) -> Sequence[Send]:
        """Decision: what a follower is sent that needs entries which are gone: the snapshot."""
        return (self._transfers.begin(peer, snapshot, now_ns),)

    def repair(
        self, peer: NodeId, now_ns: int, mark: int, snapshot: Snapshot | None
    ) -> Sequence[Send]:
        """A follower lives; if it acknowledges nothing, find out whether something was lost."""
        pipeline = self.pipelines[peer]
        if peer in self._transfers:
            return self._transfers.repeat(peer, now_ns)
        idle = not pipeline.in_flight and pipeline.next > self._log.last_index
        if idle and peer not in self._repairing:
            return ()
        if not pipeline.stalled(now_ns, self._config.heartbeat_ns) and not (
            # One that is being repaired has all: its next answer tells whether it counts again.
            idle and peer in self._repairing
        ):
            return self.send(peer, now_ns, mark, snapshot)
        pipeline.touched_ns = now_ns
        previous = self._log.generation_at(pipeline.next - 1)
        if previous is None or (pipeline.probing and pipeline.next <= self._log.last_index):
            pipeline.reset(pipeline.next)
            return self.send(peer, now_ns, mark, snapshot)
        probe = AppendEntries(self._generation, pipeline.next - 1, previous, (), mark)
        return (Send(peer, probe),)

    def _append_from(self, index: int, last: int, mark: int) -> AppendEntries:
        """The message with entries from an index on, as far as ``last``."""
        key = (index, last, mark)
        if self._shared is not None and self._shared_key == key:
            return self._shared
        previous = self._log.generation_at(index - 1)
        assert previous is not None, f"{self._node}: what precedes entry {index} is gone"
        config = self._config
        entries = self._log.between(index, min(last, index + config.batch_entries_max - 1))
        message = AppendEntries(
            generation=self._generation,
            prev_index=index - 1,
            prev_generation=previous,
            entries=tuple(batch_entries(entries, bytes_max=config.batch_bytes_max)),
            high_water_mark=mark,
        )
        self._shared_key, self._shared = key, message
        return message

    # -- answers -----------------------------------------------------------------------------------

    def acknowledged(self, peer: NodeId, index: int, now_ns: int, recovering: bool = False) -> bool:
        """A follower has everything up to an index durable; whether that is news, or counts now."""
        pipeline, counts_again = self.pipelines[peer], self._counts(peer, recovering=recovering)
        if not pipeline.acknowledged(min(index, self._log.last_index), now_ns):
            return counts_again
        assert self._match[peer] < pipeline.match <= self._log.last_index, (
            f"{peer} matches {pipeline.match} after {self._match[peer]}, "
            f"and the log ends at {self._log.last_index}"
        )
        self._match[peer] = pipeline.match
        return True

    def _counts(self, peer: NodeId, *, recovering: bool) -> bool:
        """A follower answered, sound or recovering; whether it counts again from now on."""
        if recovering:
            self._repairing.add(peer)
            return False
        counts_again = peer in self._repairing
        self._repairing.discard(peer)
        return counts_again

    def lost(self, peer: NodeId, last_index: int) -> None:
        """A follower's disk is damaged, and its log ends at ``last_index`` now."""
        pipeline = self.pipelines.get(peer)
        if pipeline is None:
            return
        is_news = peer not in self._repairing or last_index < pipeline.match
        self._counts(peer, recovering=True)
        if is_news:
            self._transfers.give_up(peer)
            self._match[peer] = 0
            pipeline.lost(min(last_index, self._log.last_index) + 1)

    def refused(self, peer: NodeId, message: AppendReply) -> None:
        """A follower's log does not hold what an append should follow: step back."""
        if message.recovering:
            self._counts(peer, recovering=True)
        if peer not in self._transfers:
            index, _generation = self._log.conflict_hint(
                message.hint_index, message.hint_generation
            )
            self.pipelines[peer].refused(message.prev_index, index + 1)

    def is_repairing(self, peer: NodeId) -> bool:
        """Whether a follower's disk is damaged, so that what it has does not count."""
        return peer in self._repairing

    def installed(self, peer: NodeId, index: int, now_ns: int, recovering: bool = False) -> bool:
        """A follower has a snapshot, or needs none; whether what it has is news."""
        self._transfers.installed(peer, index)
        return self.acknowledged(peer, index, now_ns, recovering)

    def progressed(self, peer: NodeId, message: SnapshotReply, now_ns: int) -> Sequence[Send]:
        """A follower has part of a snapshot: send the next chunk."""
        return self._transfers.progressed(peer, message, now_ns)
