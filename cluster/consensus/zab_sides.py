"""The sides of Zab: a node looks for a leader, follows one, or leads, and changes between these.

Problem. Each side of Zab has rules of its own, and a node may have to change sides at any message:
a follower misses its leader, a leader hears of a later epoch, a node that looks finds a leader.

Solution. One place that knows on which side the node is, gives it its messages, and makes the
changes. A message is first judged by its epoch (``generation_clock``). A leader that hears of an
epoch later than its own looks for a leader again, since the sender could not follow it. A message
of a leader from the past is answered with the epoch. A heartbeat of a later epoch, whose leader has
a quorum's promise, makes a node follow that leader at once.

Invariants. A node is on one side at a time. While it looks for a leader it neither leads nor
follows. A vote draws a node away from its leader only if that leader is silent, or asked for it.

What breaks without it. A node that takes part in two epochs at once breaks what it promised; see
``zab_discovery``.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011), section 4; Medeiros, "ZooKeeper's atomic broadcast protocol: theory and practice" (2012).
The variant that ``zab`` puts together.
"""

from __future__ import annotations

from typing import Final

from cluster.clocks.generation_clock import FUTURE, PAST, PRESENT
from cluster.consensus.fast_leader_election import (
    FastLeaderElection,
    leads_vote,
    vote_of,
)
from cluster.consensus.leader_and_followers import (
    CANDIDATE,
    FOLLOWER,
    FROM_LEADERS,
    LEADER,
    LEARNER,
    Leadership,
)
from cluster.consensus.log_node import LogNode
from cluster.consensus.membership_change import Change, Refusal
from cluster.consensus.zab_discovery import Promises
from cluster.consensus.zab_epoch import LeadingParts
from cluster.consensus.zab_following import BROADCAST, DISCOVERY, IDLE, ZabFollowing
from cluster.consensus.zab_leading import ZabLeading
from cluster.ports import NodeId
from cluster.wire import (
    CEpoch,
    Heartbeat,
    Message,
    NewEpoch,
    ReadIndex,
    ReadIndexReply,
    Recovering,
    TimeoutNow,
    ZabVote,
)

#: What is answered with the node's epoch when it is out of date, or meant for a leader.
_REFUSED: Final = FROM_LEADERS | {ReadIndex}


class ZabSides:
    """Which side a node is on.

    Args:
        node: the parts of the node.
        election: its timer and votes.
        following: its follower's side.
        promises: how it promises an epoch.
        leading_parts: the classes its leader's side is made of.
    """

    def __init__(
        self,
        node: LogNode,
        election: FastLeaderElection,
        following: ZabFollowing,
        *,
        promises: Promises,
        leading_parts: LeadingParts,
    ) -> None:
        self.election = election
        self.following = following
        #: the leader's side, from a won election on
        self.leading: ZabLeading | None = None
        self.node = node
        self._promises = promises
        self._leading_parts = leading_parts

    # -- which side --------------------------------------------------------------------------------

    @property
    def role(self) -> str:
        """``leader`` once established; ``candidate`` before, and while looking for a leader."""
        if self.leading is not None:
            return LEADER if self.leading.serving is not None else CANDIDATE
        if self.election.looking:
            return CANDIDATE
        return FOLLOWER if self.node.is_voter() else LEARNER

    @property
    def leader(self) -> NodeId:
        """The established leader; "" while none is known."""
        if self.leading is not None:
            return self.node.name if self.leading.serving is not None else ""
        return self.following.leader if self.following.phase == BROADCAST else ""

    @property
    def serving(self) -> Leadership | None:
        """The leadership, if this node is an established leader."""
        return self.leading.serving if self.leading is not None else None

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        if self.leading is not None:
            return self.leading.deadline_ns
        return min(self.election.deadline_ns, self.following.repeat_ns)

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """The node starts."""
        clock = self.node.clock
        assert clock.adopted <= clock.generation, (
            f"{self.node.name} recovers current epoch {clock.adopted}, above the accepted one, "
            f"{clock.generation}"
        )
        self.election.wait(now_ns)

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived; only members are heard."""
        if source == self.node.name or source not in self.node.membership.current.nodes:
            return
        if type(message) is Recovering:
            self.node.repair.heard(source, now_ns)
            return
        leads = self.leading is not None and self.leading.epoch > 0
        standing = self.node.clock.standing(message.generation, leads=leads)
        if standing == FUTURE and leads:
            self._look(now_ns)
        leading = self.leading
        if isinstance(message, ZabVote):
            self._on_vote(now_ns, source, message)
        elif leading is not None and not (standing == FUTURE and type(message) is Heartbeat):
            self._to_leading(now_ns, source, message, leading, standing)
        elif standing == PAST and type(message) in _REFUSED:
            self.following.refuse(source, message)
        else:
            self._to_following(now_ns, source, message, standing)

    def tick(self, now_ns: int) -> None:
        """Time has passed."""
        election = self.election
        if self.leading is not None:
            self.leading.tick(now_ns)
            self._look_at(now_ns, self.leading)
            return
        if now_ns >= self.following.repeat_ns:
            self.following.repeat(now_ns)
        if now_ns < election.deadline_ns:
            return
        if not self.node.votes():
            election.wait(now_ns)
            self.following.announce_damage()
        elif not election.looking:
            self._look(now_ns)
        elif election.leading:
            self._follow(now_ns, election.leading)
        elif now_ns >= election.round_ends_ns:
            self._look(now_ns)
        else:
            self._send_vote(now_ns)

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Something is durable."""
        if self.leading is not None:
            self.leading.persisted(now_ns)
            self._look_at(now_ns, self.leading)
        self.node.end_repair(io_id)

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Refused: the configuration of this variant is the one it was founded with."""
        return Refusal("fail", "zab has a fixed configuration: members cannot be changed")

    # -- messages ----------------------------------------------------------------------------------

    def _to_leading(
        self, now_ns: int, source: NodeId, message: Message, leading: ZabLeading, standing: int
    ) -> None:
        if isinstance(message, CEpoch) or standing == PRESENT:
            leading.on_message(now_ns, source, message)
            self._look_at(now_ns, leading)
        elif standing == PAST and type(message) in _REFUSED:
            self.following.refuse(source, message)

    def _to_following(self, now_ns: int, source: NodeId, message: Message, standing: int) -> None:
        following, kind = self.following, type(message)
        if kind is Heartbeat and source != following.leader:
            self._on_heartbeat(now_ns, source, standing)
        elif kind is ReadIndexReply and standing == PRESENT:
            self.node.outbox.reads.append((message.id, message.index))  # type: ignore[union-attr]
        elif kind is ReadIndex:
            following.refuse(source, message)
        elif source != following.leader:
            return
        elif isinstance(message, NewEpoch):
            if following.on_new_epoch(now_ns, message):
                self.election.heard_leader(now_ns)
        elif kind is TimeoutNow:
            if standing == PRESENT and following.phase == BROADCAST and self.node.votes():
                self._look(now_ns, transfer=True)
        elif standing == PRESENT and following.phase != DISCOVERY:
            self.election.heard_leader(now_ns)
            following.on_message(source, message)
        elif standing == FUTURE and kind is Heartbeat and following.phase != DISCOVERY:
            self._follow(now_ns, source)  # it leads again, and this node must promise again

    def _on_heartbeat(self, now_ns: int, source: NodeId, standing: int) -> None:
        """A node that this one does not follow leads, with a quorum's promise of its epoch."""
        if standing == FUTURE or (standing == PRESENT and self._is_idle()):
            self._follow(now_ns, source)
        elif standing == PRESENT and self.election.looking:
            self.election.leading = source

    def _is_idle(self) -> bool:
        return not self.election.looking and self.following.phase == IDLE

    def _on_vote(self, now_ns: int, source: NodeId, message: ZabVote) -> None:
        """A node looks for a leader, or says that it leads."""
        election, leading = self.election, self.leading
        if not self.node.votes():
            return
        if not message.looking:
            if election.looking:
                election.leading = source
        elif election.looking:
            self._count_vote(now_ns, source, message)
        elif leading is not None:
            if self._gives_way(source, message):
                self._look(now_ns, seen=message)
                self._count_vote(now_ns, source, message)
            else:
                self.node.outbox.send(source, leads_vote(self.node, election.round))
        elif not election.protects_leader(now_ns) or self._is_transfer(message):
            in_vain = self.following.waits_for(message.candidate)
            self._look(now_ns, seen=None if in_vain else message)
            self._count_vote(now_ns, source, message)

    def _gives_way(self, source: NodeId, message: ZabVote) -> bool:
        """Whether the sender is the node that this leader asked to take over."""
        serving = self.serving
        return (
            serving is not None
            and serving.handover.asked
            and serving.handover.to == source
            and self._is_transfer(message)
        )

    def _is_transfer(self, message: ZabVote) -> bool:
        return message.transfer and message.generation == self.node.clock.generation

    # -- looking for a leader ----------------------------------------------------------------------

    def _look(self, now_ns: int, *, seen: ZabVote | None = None, transfer: bool = False) -> None:
        """Leave the present side, and begin or join a round of the election."""
        if self.leading is not None:
            self.leading.end(self.node.clock.generation)
            self.leading = None
        self.following.leave()
        self.election.look(now_ns, vote_of(self.node), seen)
        self.election.transfer = transfer
        self.node.outbox.note("looking", round=self.election.round)
        self._send_vote(now_ns)
        self._conclude(now_ns)

    def _count_vote(self, now_ns: int, source: NodeId, message: ZabVote) -> None:
        if not self.election.looking:
            return  # the round ended with this node's own vote
        if self.election.take(source, message, vote_of(self.node)):
            self._send_vote(now_ns)
        elif message.round < self.election.round:
            self.node.outbox.send(source, self.election.message(self.node.clock.generation))
        self._conclude(now_ns)

    def _conclude(self, now_ns: int) -> None:
        winner = self.election.winner(self.node.electorate())
        if winner == self.node.name:
            self._lead(now_ns)
        elif winner:
            self._follow(now_ns, winner)

    def _send_vote(self, now_ns: int) -> None:
        message = self.election.message(self.node.clock.generation)
        for peer in self.node.peers():
            self.node.outbox.send(peer, message)
        self.election.sent(now_ns)

    # -- changing sides ----------------------------------------------------------------------------

    def _follow(self, now_ns: int, leader: NodeId) -> None:
        if self.leading is not None:
            self.leading.end(self.node.clock.generation)
            self.leading = None
        self.election.end()
        self.election.heard_leader(now_ns)
        self.following.follow(leader, now_ns)

    def _lead(self, now_ns: int) -> None:
        self.election.end()
        self.following.leave()
        self.node.outbox.note("election-won", round=self.election.round)
        self.leading = leading = ZabLeading(
            self.node, self._promises, self.election, parts=self._leading_parts
        )
        leading.begin(now_ns)
        self._look_at(now_ns, leading)

    def _look_at(self, now_ns: int, leading: ZabLeading) -> None:
        """Look for a leader if this leadership ended by itself."""
        if leading.over and self.leading is leading:
            self._look(now_ns)
