"""Installing a snapshot: how a follower behind the low-water mark catches up.

Problem. Entries below the low-water mark are gone, and a follower that was away needs them.

Solution. The leader sends its newest snapshot in chunks, one under way at a time. The follower
answers with the number of bytes it has, so that lost, repeated and reordered chunks only cost time
(``cluster.channel.chunks``). When all bytes are there, the follower takes the snapshot, unless its
own mark is already as far. It keeps its log if the log agrees at the snapshot's index, and drops it
whole otherwise.

Invariants. A snapshot never moves a node backwards. Its state is that of its index; both are made
durable as one. Nothing is acknowledged before that.

What breaks without it. A62: an old snapshot rewinds a node. A63: chunks of two snapshots make a
state that belongs to neither index. A08d: a snapshot without the sessions applies a retried command
twice. A08b: a node that was away too long never returns.

Source: Raft paper 7; Joshi, "Low-Water Mark". Bookkeeping for both ends, and the newest snapshot;
for any consensus core with a log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import eq
from typing import TypeAlias

from cluster.channel.chunks import Arriving, Progress
from cluster.channel.request_pipeline import RequestPipeline
from cluster.config import ClusterConfig
from cluster.consensus.membership import Configuration
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.ports import NodeId, Send
from cluster.wire import InstallSnapshot, Snapshot, SnapshotReply

#: What a chunk says of its snapshot: generation of the leader, index, and sender.
SnapshotName: TypeAlias = tuple[int, int, NodeId]


class SnapshotTransfer:
    """The leader's end: which chunk of which snapshot is under way to one follower.

    Args:
        snapshot: what is sent.
        chunk_bytes: most bytes of a chunk.
    """

    __slots__ = ("_chunk_bytes", "_progress", "snapshot")

    def __init__(self, snapshot: Snapshot, chunk_bytes: int) -> None:
        self.snapshot = snapshot
        self._chunk_bytes = chunk_bytes
        self._progress = Progress(len(snapshot.data))

    def chunk(self, generation: int) -> InstallSnapshot:
        """The chunk under way, to send or send again."""
        snapshot, offset = self.snapshot, self._progress.offset
        end = offset + self._chunk_bytes
        return InstallSnapshot(
            generation=generation,
            index=snapshot.index,
            entry_generation=snapshot.generation,
            members=snapshot.members,
            offset=offset,
            data=snapshot.data[offset:end],
            done=end >= len(snapshot.data),
            configuration=snapshot.configuration,
        )

    def progressed(self, index: int, offset: int) -> bool:
        """The follower has ``offset`` bytes; whether another chunk must be sent for it."""
        return index == self.snapshot.index and self._progress.progressed(offset)


class SnapshotTransfers:
    """All transfers of one leadership, by follower.

    Args:
        node: the leader.
        generation: the one it leads.
        log: its log; a snapshot reaches at least its base.
        pipelines: the followers'; kept by the owner, and touched when a chunk is sent.
        config: size of a chunk, and how long to wait for an answer to it.
    """

    __slots__ = ("_config", "_generation", "_log", "_node", "_pipelines", "_transfers")

    def __init__(
        self,
        node: NodeId,
        generation: int,
        log: ReplicatedLog,
        pipelines: Mapping[NodeId, RequestPipeline],
        config: ClusterConfig,
    ) -> None:
        self._node, self._generation, self._log = node, generation, log
        self._pipelines, self._config = pipelines, config
        self._transfers: dict[NodeId, SnapshotTransfer] = {}

    def __contains__(self, peer: object) -> bool:
        return peer in self._transfers

    def begin(self, peer: NodeId, snapshot: Snapshot | None, now_ns: int) -> Send:
        """What a follower misses is gone: its first chunk of the newest snapshot."""
        assert snapshot is not None and snapshot.index >= self._log.base_index, (
            f"{self._node}: the log begins at {self._log.first_index} and no snapshot reaches it"
        )
        self._transfers[peer] = SnapshotTransfer(snapshot, self._config.snapshot_chunk_bytes)
        return self._send(peer, now_ns)

    def repeat(self, peer: NodeId, now_ns: int) -> Sequence[Send]:
        """A follower lives, and may have lost the chunk under way: send it again after a while."""
        if now_ns - self._pipelines[peer].touched_ns < self._config.election_min_ns:
            return ()
        return (self._send(peer, now_ns),)

    def progressed(self, peer: NodeId, message: SnapshotReply, now_ns: int) -> Sequence[Send]:
        """A follower has part of a snapshot: send the next chunk."""
        transfer = self._transfers.get(peer)
        if not transfer or not transfer.progressed(message.index, message.offset):
            return ()
        return (self._send(peer, now_ns),)

    def installed(self, peer: NodeId, index: int) -> None:
        """A follower has everything up to an index: a snapshot up to there is done."""
        transfer = self._transfers.get(peer)
        if transfer and index >= transfer.snapshot.index:
            del self._transfers[peer]

    def give_up(self, peer: NodeId) -> None:
        """Send a follower no more of a snapshot."""
        self._transfers.pop(peer, None)

    def _send(self, peer: NodeId, now_ns: int) -> Send:
        self._pipelines[peer].touched_ns = now_ns
        return Send(peer, self._transfers[peer].chunk(self._generation))


class SnapshotAssembly:
    """The follower's end: the bytes of the snapshot that is arriving.

    Args:
        is_same: whether a chunk is of the snapshot that is arriving, by the names of the two.
    """

    __slots__ = ("_arriving",)

    def __init__(self, is_same: Callable[[SnapshotName, SnapshotName], bool] = eq) -> None:
        self._arriving = Arriving(is_same=is_same)

    def add(self, source: NodeId, message: InstallSnapshot) -> Snapshot | None:
        """Take a chunk if it is the next one; the snapshot, once whole.

        A first chunk always begins anew: its sender may have begun anew, and waits for an answer.
        """
        key = (message.generation, message.index, source)
        taken = self._arriving.add(key, message.offset, message.data, anew=True)
        if not taken or not message.done:
            return None
        data = self._arriving.peek()
        self.clear()
        return Snapshot(
            message.index, message.entry_generation, message.members, data, message.configuration
        )

    @property
    def offset(self) -> int:
        """Bytes in hand."""
        return self._arriving.offset

    def clear(self) -> None:
        """Forget what arrived."""
        self._arriving.clear()


class Snapshots:
    """A node's newest snapshot, and the one that is arriving.

    Args:
        newest: what recovery found; None if there is none.
    """

    __slots__ = ("_arriving", "newest")

    def __init__(self, newest: Snapshot | None = None) -> None:
        self.newest = newest
        self._arriving = SnapshotAssembly(self.is_same)

    @property
    def index(self) -> int:
        """Index of the newest snapshot; 0 if there is none."""
        return self.newest.index if self.newest else 0

    def accepts_snapshot(self, index: int, mark: int) -> bool:
        """Decision: whether a leader's snapshot is taken. One at or below the mark would rewind."""
        return index > mark

    def is_same(self, arriving: SnapshotName, chunk: SnapshotName) -> bool:
        """Decision: whether a chunk is of the snapshot that is arriving."""
        return arriving == chunk

    def receive(self, source: NodeId, message: InstallSnapshot) -> Snapshot | None:
        """Take a chunk; the snapshot, once whole."""
        return self._arriving.add(source, message)

    @property
    def received_bytes(self) -> int:
        """Bytes in hand of the snapshot that is arriving."""
        return self._arriving.offset

    def install(self, snapshot: Snapshot) -> None:
        """A snapshot, taken here or received, is the newest now."""
        assert snapshot.index > self.index, f"{snapshot.index} is not after {self.index}"
        self.newest = snapshot


def snapshot_of(index: int, generation: int, configuration: Configuration, data: bytes) -> Snapshot:
    """A snapshot of the state at an index, with the configuration in force there."""
    carried = b"" if configuration.plain else configuration.encode()
    return Snapshot(index, generation, configuration.voters, data, carried)
