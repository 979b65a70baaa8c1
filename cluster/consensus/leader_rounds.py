"""A leader's rounds: heartbeats sent and answered, and the reads that wait for them.

Problem. A leader must prove again and again that it still leads: to its followers, so that they do
not campaign; to itself, so that it steps down when no quorum hears it; and for every linearizable
read.

Solution. One round of heartbeats serves all three. :mod:`cluster.consensus.heartbeat` keeps the
books of the rounds and :mod:`cluster.consensus.read_index` those of the reads; this object sends
and answers. A read is held until the mark is current, and then waits for the next round that a
quorum answers; while a lease is valid it waits for none. If no round is under way, the read causes
one, which goes to a quorum (``whom_to_ask``); the others are asked when it is late. Which reads it
confirms does not depend on whom it went to.

Invariants. A read is answered at an index that was the mark when it arrived or later, after a round
sent since. Regular rounds go to all, an interval apart, whatever the reads do: no follower is sent
less for the rounds that went to another. A round that went to some goes to the others too, within
an interval, unless it is confirmed before. When leadership ends every read is answered with index
0: it cannot be confirmed here.

What breaks without it. A10b: heartbeats behind the disk. A30, A31, A32: see ``read_index`` and
``heartbeat``.

Source: Raft thesis 6.4; Lamport, "Paxos Made Simple" (2001), 3, for the same in Paxos. Shared by
:class:`cluster.consensus.leader_and_followers.Leadership` and
:class:`cluster.consensus.proposer.Proposer`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cluster.channel.request_pipeline import RequestPipeline
from cluster.channel.request_waiting_list import NEVER_NS
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

    __slots__ = (
        "_asked", "_generation", "_late_ns", "_node", "_pipelines", "_reads", "heartbeats",
    )  # fmt: skip

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
        #: whom the latest round for a read went to
        self._asked: Collection[NodeId] = ()
        #: when the others are asked, if the latest round went to some and is not confirmed by then
        self._late_ns = NEVER_NS

    # -- rounds ------------------------------------------------------------------------------------

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        due_ns, late_ns = self.heartbeats.due_ns, self._late_ns
        return due_ns if due_ns < late_ns else late_ns

    def send(self, now_ns: int) -> None:
        """A regular round, to all."""
        self.heartbeats.next_round(now_ns)
        self._late_ns = NEVER_NS
        self._send_to(self._pipelines)
        self.heartbeats.confirm(self._node.electorate())  # a lone voter needs no answer

    def _send_for_reads(self, now_ns: int) -> None:
        """A round that reads wait for: to a quorum, and to the others when it is late."""
        heartbeats, electorate = self.heartbeats, self._node.electorate()
        askers = self._reads.askers if self._reads.has_remote else ()
        asked = heartbeats.whom_to_ask(now_ns, electorate, askers)
        heartbeats.next_round(now_ns, regular=False)
        to_some = len(asked) < len(self._pipelines)
        self._asked = asked
        self._late_ns = now_ns + heartbeats.late_after_ns if to_some else NEVER_NS
        self._send_to(asked)
        if len(electorate.voters) == 1:  # a lone voter needs no answer
            heartbeats.confirm(electorate)
            self._serve(now_ns)

    def _ask_the_others(self) -> None:
        """The latest round is late: it goes to those too to whom it did not go."""
        assert self.heartbeats.confirmed < self.heartbeats.sent, "a confirmed round is not late"
        self._late_ns = NEVER_NS
        self._send_to([peer for peer in self._pipelines if peer not in self._asked])

    def _send_to(self, peers: Collection[NodeId]) -> None:
        """The latest round. It waits for no write: a slow disk is not a dead leader."""
        node, heartbeats, mark_for = self._node, self.heartbeats, self._node.mark.shared_with
        io = node.writes.io_issued if heartbeats.wait_for_disk() else 0
        for peer in peers:
            mark = mark_for(self._pipelines[peer].match)
            node.outbox.send(peer, Heartbeat(self._generation, heartbeats.sent, mark), after=io)

    def tick(self, now_ns: int) -> bool:
        """Send the next round if it is due, and a late one to all.

        Returns:
            False if no quorum is heard any more: the leadership is over.
        """
        if now_ns < self.heartbeats.due_ns:
            if now_ns >= self._late_ns:
                self._ask_the_others()
            return True
        if not self.heartbeats.keeps_quorum(now_ns, self._node.electorate()):
            self._node.outbox.note("lost-quorum", generation=self._generation)
            return False
        self.send(now_ns)
        self._serve(now_ns)  # the voter whose answer was missing may have left
        return True

    def answered(self, now_ns: int, peer: NodeId, round: int) -> None:
        """A peer answered a heartbeat."""
        heartbeats, before = self.heartbeats, self.heartbeats.confirmed
        heartbeats.answered(peer, round)
        heartbeats.confirm(self._node.electorate())
        if heartbeats.confirmed > before:
            heartbeats.measure(now_ns)
        if heartbeats.confirmed == heartbeats.sent:
            self._late_ns = NEVER_NS
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
        outbox, reads = self._node.outbox, self._reads
        safe = reads.take_safe(self.heartbeats.confirmed)
        if not reads.has_remote:
            outbox.reads += safe
            safe = []
        for token, index in safe:
            if token >= 0:
                outbox.reads.append((token, index))
            else:
                peer, id = reads.take_remote(token)
                outbox.send(peer, ReadIndexReply(self._generation, id, index))
        if reads.needs_round(self.heartbeats.sent):
            self._send_for_reads(now_ns)

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
