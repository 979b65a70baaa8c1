"""Heartbeat rounds, the reads they confirm, and the high-water mark of a Raft leader.

Reads and commits belong together: a read is at the high-water mark, and a new leader's mark is
current only after its first own entry, which is when held reads are let go. The third layer of
:class:`cluster.consensus.raft.Raft`; rules in ``heartbeat``, ``read_index``, ``high_water_mark``.

Source: Raft thesis 6.4.
"""

from __future__ import annotations

from cluster.consensus.membership import agreed_value
from cluster.consensus.raft_replication import RaftReplication
from cluster.wire import (
    Heartbeat,
    ReadIndexReply,
)


class RaftReads(RaftReplication):
    """Heartbeats, linearizable reads and commitment of a leader."""

    def _broadcast_heartbeat(self) -> None:
        """A new round. It waits for no write: a slow disk is not a dead leader."""
        round = self._rounds.next_round(self.now_ns)
        self._heartbeat_ns = self.now_ns + self.config.heartbeat_ns
        for peer, pipeline in self._pipelines.items():
            mark = min(self.high_water_mark, pipeline.match)
            self._send(peer, Heartbeat(self.generation, round, mark))
        self._confirm_rounds()  # a lone voter needs nobody's answer

    def _confirm_rounds(self) -> None:
        """Note the latest round that a quorum has answered, this node itself included."""
        answered = {node: self._rounds.answered_round(node) for node in self._pipelines}
        answered[self.node] = self._rounds.sent
        self._rounds.confirm(agreed_value(self.electorate(), answered))

    def _queue_read(self, token: int) -> None:
        """Let a read wait for a round sent from now on; reads meanwhile share the one after."""
        under_way = self._reads.next_round and self._reads.next_round <= self._rounds.sent
        self._reads.add(token, index=self.high_water_mark, round=self._rounds.sent + 1)
        if self.read_is_safe(self._rounds.sent + 1):
            self._release_reads()
        elif not under_way:
            self._broadcast_heartbeat()
            self._release_reads()

    def _release_reads(self) -> None:
        reads = self._reads
        if not reads.next_round:
            return
        while reads.next_round and self.read_is_safe(reads.next_round):
            token, index = reads.pop()
            self._serve_read(token, index)
        if reads.next_round > self._rounds.sent:
            self._broadcast_heartbeat()

    def _serve_read(self, token: int, index: int) -> None:
        if token >= 0:
            self._safe_reads.append((token, index))
            return
        peer, id = self._remote_reads.pop(token)
        self._send(peer, ReadIndexReply(self.generation, id, index))

    def _fail_read(self, token: int) -> None:
        if token >= 0:
            self._safe_reads.append((token, 0))
            return
        peer, id = self._remote_reads.pop(token)
        reply = ReadIndexReply(self.generation, id, 0)
        self._send(peer, reply, after=self.writes.after_hard_state)

    def _advance_high_water_mark(self) -> None:
        """Raise the mark to what a quorum has, the leader's own log counting where durable."""
        match = {peer: pipeline.match for peer, pipeline in self._pipelines.items()}
        match[self.node] = self.writes.durable_index
        index = agreed_value(self.electorate(), match)
        if not self.may_commit(index):
            return
        self._raise_high_water_mark(index)
        if self.knows_high_water_mark():
            for token in self._reads.release_held():
                self._queue_read(token)
            self._continue_change()

    def _continue_change(self) -> None:
        """The mark rose: a change of members may have another step to make. A later layer's."""
