"""How a Raft leader gets its log to the followers: pipelined appends, repairs, snapshots.

Entries are sent as far as each follower's window allows and before they are durable here. What a
follower acknowledges comes back as an AppendReply, which ``raft`` takes. When a follower answers
heartbeats but acknowledges nothing, something was lost, and :meth:`_repair` finds out what. The
second layer of :class:`cluster.consensus.raft.Raft`; rules in ``replicated_log``,
``request_pipeline``, ``request_batch`` and ``install_snapshot``.

Source: Raft paper 5.3, 7; Raft thesis 10.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.channel.request_batch import batch_entries
from cluster.consensus.install_snapshot import SnapshotTransfer
from cluster.consensus.interface import SafetyViolation
from cluster.consensus.raft_state import RaftState
from cluster.ports import NodeId
from cluster.wire import (
    AppendEntries,
    Entry,
)


class RaftReplication(RaftState):
    """The sending side of a leader."""

    def _append_own(self, data: Sequence[bytes], kind: str) -> int:
        """Create entries of this generation, write and send them as one batch; the first index."""
        generation, first = self.clock.generation, self.log.last_index + 1
        entries = tuple(
            [Entry(index, generation, kind, item) for index, item in enumerate(data, first)]
        )
        self.log.extend(entries)
        self.writes.append(entries)
        self._replicate_all()
        return first

    def _replicate_all(self) -> None:
        for peer in self._pipelines:
            self._replicate(peer)

    def _replicate(self, peer: NodeId) -> None:
        """Send a follower what it misses, as far as its window allows."""
        pipeline = self._pipelines[peer]
        while peer not in self._transfers and pipeline.can_send():
            if pipeline.next > self.log.last_index:
                return
            message = self._append_from(pipeline.next)
            if message is None:
                self._send_snapshot(peer)
                return
            self._send(peer, message)
            pipeline.sent(message.entries[-1].index, self.now_ns)

    def _append_from(self, index: int) -> AppendEntries | None:
        """The message with entries from an index on; None if what precedes them is gone.

        Followers that stand at the same place get the same object, which a host encodes once.
        """
        key = (index, self.log.last_index, self.high_water_mark)
        shared = self._shared_message
        if shared and self._shared_append == key and shared.generation == self.generation:
            return shared
        previous = self.log.generation_at(index - 1)
        if previous is None:
            return None
        config = self.config
        entries = self.log.between(index, index + config.batch_entries_max - 1)
        message = AppendEntries(
            generation=self.generation,
            prev_index=index - 1,
            prev_generation=previous,
            entries=tuple(batch_entries(entries, bytes_max=config.batch_bytes_max)),
            high_water_mark=self.high_water_mark,
        )
        self._shared_append, self._shared_message = key, message
        return message

    def _repair(self, peer: NodeId) -> None:
        """A follower lives but does not acknowledge: find out whether something was lost."""
        pipeline, transfer = self._pipelines[peer], self._transfers.get(peer)
        if transfer:
            if self.now_ns - pipeline.touched_ns >= self.config.election_min_ns:
                pipeline.touched_ns = self.now_ns
                self._send(peer, transfer.chunk(self.generation))
            return
        if not pipeline.stalled(self.now_ns, self.config.heartbeat_ns):
            self._replicate(peer)
            return
        pipeline.touched_ns = self.now_ns
        previous = self.log.generation_at(pipeline.next - 1)
        if pipeline.probing or previous is None:
            pipeline.reset(pipeline.next)
            self._replicate(peer)
            return
        self._send(
            peer,
            AppendEntries(self.generation, pipeline.next - 1, previous, (), self.high_water_mark),
        )

    def _send_snapshot(self, peer: NodeId) -> None:
        if self.snapshot is None:
            raise SafetyViolation(
                f"{self.node}: the log begins at {self.first_index} and there is no snapshot below"
            )
        transfer = SnapshotTransfer(self.snapshot, self.config.snapshot_chunk_bytes)
        self._transfers[peer] = transfer
        self._pipelines[peer].touched_ns = self.now_ns
        self._send(peer, transfer.chunk(self.generation))
