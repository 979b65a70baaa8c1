"""A leader's rounds: heartbeats sent and answered, and the reads that wait for them.

Problem. A leader must prove again and again that it still leads: to its followers, so that they do
not campaign; to itself, so that it steps down when no quorum hears it; and for every linearizable
read.

Solution. One round of heartbeats serves all three. :mod:`cluster.consensus.heartbeat` keeps the
books of the rounds and :mod:`cluster.consensus.read_index` those of the reads; this object sends
and answers. A read is held until the mark is current, and then waits for the next round that a
quorum answers; while a lease is valid it waits for none. If no round is under way, the read causes
one.

Invariants. A read is answered at an index that was the mark when it arrived or later, after a round
sent since. When leadership ends every read is answered with index 0: it cannot be confirmed here.

What breaks without it. A10b: heartbeats behind the disk. A30, A31, A32: see ``read_index`` and
``heartbeat``.

Source: Raft thesis 6.4; Lamport, "Paxos Made Simple" (2001), 3, for the same in Paxos. Shared by
:class:`cluster.consensus.leader_and_followers.Leadership` and
:class:`cluster.consensus.proposer.Proposer`.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.channel.request_pipeline import RequestPipeline
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.log_node import LogNode
from cluster.consensus.read_index import ReadIndex
from cluster.ports import NodeId
from cluster.wire import Heartbeat, ReadIndexReply
from cluster.wire import ReadIndex as ReadIndexRequest


class LeaderRounds:
    """The rounds and reads of one leadership.

    Args:
        node: the leader.
        generation: the one it leads.
        pipelines: the peers that get heartbeats, and how far each is; kept by the owner.
        heartbeats: the rounds' books.
        reads: the reads' books.
    """

    __slots__ = ("_generation", "_node", "_pipelines", "_reads", "heartbeats")

    def __init__(
        self,
        node: LogNode,
        generation: int,
        pipelines: Mapping[NodeId, RequestPipeline],
        *,
        heartbeats: HeartbeatRounds,
        reads: ReadIndex,
    ) -> None:
        self._node, self._generation, self._pipelines = node, generation, pipelines
        self.heartbeats = heartbeats
        self._reads = reads

    # -- rounds ------------------------------------------------------------------------------------

    def send(self, now_ns: int) -> None:
        """A new round of heartbeats. It waits for no write: a slow disk is not a dead leader."""
        node, heartbeats = self._node, self.heartbeats
        round, mark_for = heartbeats.next_round(now_ns), node.mark.shared_with
        io = node.writes.io_issued if heartbeats.wait_for_disk() else 0
        for peer, pipeline in self._pipelines.items():
            heartbeat = Heartbeat(self._generation, round, mark_for(pipeline.match))
            node.outbox.send(peer, heartbeat, after=io)
        heartbeats.confirm(node.electorate())  # a lone voter needs no answer

    def tick(self, now_ns: int) -> bool:
        """Send the next round if it is due.

        Returns:
            False if no quorum is heard any more: the leadership is over.
        """
        if now_ns < self.heartbeats.due_ns:
            return True
        if not self.heartbeats.keeps_quorum(now_ns, self._node.electorate()):
            self._node.outbox.note("lost-quorum", generation=self._generation)
            return False
        self.send(now_ns)
        self._serve(now_ns)  # the voter whose answer was missing may have left
        return True

    def answered(self, now_ns: int, peer: NodeId, round: int) -> None:
        """A peer answered a heartbeat."""
        self.heartbeats.answered(peer, round)
        self.heartbeats.confirm(self._node.electorate())
        self._serve(now_ns)

    # -- reads -------------------------------------------------------------------------------------

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> None:
        """Find a linearizable index; it is put into the outbox, or sent to a follower."""
        node, mark = self._node, self._node.mark.index
        if not self._reads.mark_is_current(mark):
            self._reads.hold(token)
        elif lease and self.heartbeats.lease_is_valid(now_ns, node.membership.current):
            node.outbox.reads.append((token, mark))
        elif self._reads.add(token, index=mark, sent=self.heartbeats.sent):
            self._serve(now_ns)

    def forwarded(self, now_ns: int, source: NodeId, message: ReadIndexRequest) -> None:
        """A follower asks for a linearizable index."""
        self.read(now_ns, self._reads.remote_token(source, message.id))

    def mark_rose(self, now_ns: int) -> bool:
        """More is committed: the reads that were held may be confirmed now, if it is enough.

        Returns:
            Whether the mark is at or above everything that earlier leaders committed.
        """
        if not self._reads.mark_is_current(self._node.mark.index):
            return False
        for token in self._reads.release_held():
            self.read(now_ns, token)
        return True

    def _serve(self, now_ns: int) -> None:
        """Serve the reads that are safe; send a round if the next one has none under way."""
        outbox = self._node.outbox
        while True:
            safe = self._reads.take_safe(self.heartbeats.confirmed)
            if not self._reads.has_remote:
                outbox.reads += safe
                safe = []
            for token, index in safe:
                if token >= 0:
                    outbox.reads.append((token, index))
                else:
                    peer, id = self._reads.take_remote(token)
                    outbox.send(peer, ReadIndexReply(self._generation, id, index))
            if not self._reads.needs_round(self.heartbeats.sent):
                return
            self.send(now_ns)

    def end(self, generation: int) -> None:
        """Leadership is lost: no read can be confirmed any more.

        Args:
            generation: the node's now, which its answers carry.
        """
        for token in self._reads.drain():
            if token >= 0:
                self._node.outbox.reads.append((token, 0))
            else:
                peer, id = self._reads.take_remote(token)
                self._node.send_durably(peer, ReadIndexReply(generation, id, 0))
