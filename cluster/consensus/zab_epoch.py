"""Zab, the leader's side of an epoch that a quorum has promised: synchronisation and broadcast.

Problem. Followers come at different times and stand at different places. The leader must bring each
in line, know how far each is, and serve as soon as enough of them have adopted its history.

Solution. One object for the epoch. It brings followers in line and asks them to adopt the history
(``zab_synchronisation``), and owns a :class:`Leadership`, the same as in Raft, which sends entries,
counts copies, sends heartbeat rounds and confirms reads. In Zab's words an append is a PROPOSE, its
answer an ACK, a heartbeat a PING. Once established, the leader also sends COMMIT as soon as the
mark rises, since a follower must not wait for the next proposal to learn of it. What a follower
cannot ask for is repeated with the answers to heartbeats.

Only a cluster's very first epoch begins with an entry of its own: a read needs an index at which it
is linearizable, and there is none in an empty log.

Invariants. The leader proposes only when established. Each follower that serves has adopted the
history. COMMIT tells a follower of nothing above what it has acknowledged.

What breaks without it. A67a, A67f, A67h: see ``zab_synchronisation``. A67i: what is committed
without a quorum is lost with the leader.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011), section 4, phases 2 and 3. Owned by ``zab_leading``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.leader_and_followers import Leadership
from cluster.consensus.log_node import LogNode
from cluster.consensus.majority_quorum import quorum_size
from cluster.consensus.membership_change import MembershipChange
from cluster.consensus.read_index import ReadIndex as Reads
from cluster.consensus.replication import Replication
from cluster.consensus.zab_discovery import Discovery
from cluster.consensus.zab_synchronisation import SNAP, TRUNC, Synchronisation
from cluster.ports import NodeId
from cluster.wire import (
    AckNewLeader,
    AppendReply,
    HeartbeatReply,
    Message,
    NewLeader,
    ReadIndex,
    ReadIndexReply,
    SnapshotReply,
    Truncate,
    UpToDate,
    ZabCommit,
)


class LeadingParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes that the leader's side is made of."""

    discovery: type[Discovery] = Discovery
    synchronisation: type[Synchronisation] = Synchronisation
    replication: type[Replication] = Replication
    rounds: type[HeartbeatRounds] = HeartbeatRounds
    reads: type[Reads] = Reads
    change: type[MembershipChange] = MembershipChange


#: Answers that show how much of the history a follower has.
_PROGRESS: Final = (AppendReply, SnapshotReply)


class ZabEpoch:
    """One epoch of one leader, from a quorum's promise on.

    After each call the owner looks at :attr:`over`.

    Args:
        node: the parts of the node.
        epoch: the epoch.
        ends: where the log of each follower ends, as reported in this epoch: (generation, index);
            kept by the owner.
        parts: the classes it is made of.
        now_ns: the time.
    """

    def __init__(
        self,
        node: LogNode,
        epoch: int,
        ends: dict[NodeId, tuple[int, int]],
        *,
        parts: LeadingParts,
        now_ns: int,
    ) -> None:
        self.epoch = epoch
        #: whether it ended by itself
        self.over = False
        self.synchronisation = parts.synchronisation(node.log)
        self._node = node
        self._ends = ends
        self.leadership = self._make_leadership(parts, now_ns)
        #: the mark that each follower was sent with COMMIT
        self._sent_mark: dict[NodeId, int] = {}

    def _make_leadership(self, parts: LeadingParts, now_ns: int) -> Leadership:
        node, peers, first = self._node, self._node.peers(), max(1, self.synchronisation.index)
        replication = parts.replication(
            node.name, self.epoch, node.log, peers, config=node.config, now_ns=now_ns
        )
        for peer in peers:
            replication.bound(peer, -1)
        return Leadership(
            node,
            self.epoch,
            replication=replication,
            rounds=parts.rounds(node.name, peers, config=node.config, now_ns=now_ns),
            reads=parts.reads(first),
            change=parts.change(first, config=node.config),
        )

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """This node's log is the history, and it adopts it; so shall the followers."""
        node = self._node
        node.clock.adopt(self.epoch)
        node.persist_clock()
        node.outbox.note("synchronising", epoch=self.epoch, index=self.synchronisation.index)
        self.leadership.rounds.send(now_ns)
        for peer in self._ends:
            self.bring_in_line(now_ns, peer)
        self._establish_if_possible(now_ns)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A follower's message of this epoch."""
        if isinstance(message, AckNewLeader):
            self._adopts(now_ns, source)
        elif isinstance(message, ReadIndex) and not self.synchronisation.established:
            self._node.send_durably(source, ReadIndexReply(self.epoch, message.id, 0))
        else:
            self.leadership.on_message(now_ns, source, message)
            if isinstance(message, _PROGRESS):
                self._announce(source)
            elif isinstance(message, HeartbeatReply):
                self._repeat(source)
        self._look_at_leadership()

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, and whether a quorum is heard."""
        if not self.synchronisation.established and not self._is_heard(now_ns):
            self.over = True
            return
        self.leadership.tick(now_ns)
        self._look_at_leadership()

    def persisted(self, now_ns: int) -> None:
        """Something is durable: perhaps what this node adopted or proposed."""
        if self._node.is_durable():
            self._adopts(now_ns, self._node.name)
        self.leadership.advance(now_ns)
        self._look_at_leadership()

    def _is_heard(self, now_ns: int) -> bool:
        """Whether a quorum was heard lately, this node included."""
        voters, rounds = self._node.electorate().voters, self.leadership.rounds.heartbeats
        return sum(rounds.is_heard(voter, now_ns) for voter in voters) >= quorum_size(len(voters))

    # -- synchronisation ---------------------------------------------------------------------------

    def bring_in_line(self, now_ns: int, peer: NodeId) -> None:
        """Find where a follower's log agrees with the history, and send what it lacks."""
        leadership, synchronisation = self.leadership, self.synchronisation
        replication, (generation, index) = leadership.replication, self._ends[peer]
        if peer not in replication.pipelines or peer in synchronisation.announced:
            return
        way = synchronisation.way(self._node.log, generation, index)
        if way == TRUNC:
            synchronisation.truncates(peer, self._node.log, generation, index)
            self._cut_off(peer)
            return
        synchronisation.truncations.pop(peer, None)
        agreed = None if way == SNAP else min(index, self._node.log.last_index)
        replication.begin_at(peer, agreed, now_ns)
        if synchronisation.takes_proposals(peer):
            replication.unbound(peer)
        else:
            replication.bound(peer, synchronisation.index)
        leadership.advance(now_ns)  # what the follower has may be what was missing to a quorum
        leadership.send_missing(now_ns, peer)
        self._announce(peer)

    def _cut_off(self, peer: NodeId) -> None:
        truncation = Truncate(self.epoch, *self.synchronisation.truncations[peer])
        self._node.outbox.send(peer, truncation)

    def _announce(self, peer: NodeId) -> None:
        """Ask a follower to adopt the history, once it has all of it."""
        leadership, synchronisation = self.leadership, self.synchronisation
        placed = peer in self._ends and peer not in synchronisation.truncations
        has_all = placed and leadership.replication.match(peer) >= synchronisation.index
        if has_all and synchronisation.has_history(peer):
            self._ask_to_adopt(peer)

    def _ask_to_adopt(self, peer: NodeId) -> None:
        self._node.outbox.send(peer, NewLeader(self.epoch, self.synchronisation.index))

    def _adopts(self, now_ns: int, source: NodeId) -> None:
        leadership, synchronisation = self.leadership, self.synchronisation
        synchronisation.adopts(source)
        if source in leadership.replication.pipelines:
            leadership.replication.unbound(source)
        if not synchronisation.established:
            self._establish_if_possible(now_ns)
        elif source != self._node.name:
            self._tell_up_to_date(source)
            leadership.send_missing(now_ns, source)

    def _establish_if_possible(self, now_ns: int) -> None:
        """Commit the history and serve, if a quorum has adopted it."""
        synchronisation, node = self.synchronisation, self._node
        if not synchronisation.may_establish(node.electorate()):
            return
        synchronisation.established = True
        generation, index = synchronisation.history
        node.mark.advance(index, node.log, generation)
        node.outbox.note("leader-elected", generation=self.epoch, index=index)
        for peer in synchronisation.adopted:
            if peer != node.name:
                self._tell_up_to_date(peer)
        if not index:
            self._begin_log(now_ns)

    def _begin_log(self, now_ns: int) -> None:
        """The first epoch of all: a read needs an index at which it is linearizable."""
        self.leadership.append(now_ns, (b"",), "noop")

    def _tell_up_to_date(self, peer: NodeId) -> None:
        mark = min(self._node.mark.index, self.leadership.replication.match(peer))
        self._sent_mark[peer] = mark
        self._node.outbox.send(peer, UpToDate(self.epoch, mark))

    def _repeat(self, peer: NodeId) -> None:
        """A follower lives: what it cannot ask for may have been lost."""
        synchronisation = self.synchronisation
        if peer in synchronisation.truncations:
            self._cut_off(peer)
        elif peer in synchronisation.announced and peer not in synchronisation.adopted:
            self._ask_to_adopt(peer)

    # -- broadcast ---------------------------------------------------------------------------------

    def _look_at_leadership(self) -> None:
        """Tell the followers what is committed now; notice that the leadership ended."""
        leadership, sent = self.leadership, self._sent_mark
        self.over |= leadership.over
        mark = self._node.mark.index
        for peer, before in sent.items():
            known = min(mark, leadership.replication.match(peer))
            if known > before:
                sent[peer] = known
                self._node.outbox.send(peer, ZabCommit(self.epoch, known))
