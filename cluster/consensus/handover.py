"""Handing over: a leader gives its place to a voter of its choice, and nothing is lost.

Problem. A leader that is to be stopped, or is no longer the best, would be missed for an election
timeout.

Solution. The leader takes no new entries until the chosen voter has all. Then it tells the voter to
campaign at once, and gives up after a while.

Invariant. The voter is told once, and only when its log is as long as the leader's. From then on
the leader has no lease: the other may win at any time, however late the message arrives.

Source: Raft thesis 3.10. Shared by :class:`cluster.consensus.leader_and_followers.Leadership` and
:class:`cluster.consensus.proposer.Proposer`.
"""

from __future__ import annotations

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.log_node import LogNode
from cluster.ports import NodeId
from cluster.wire import TimeoutNow


class Handover:
    """One leadership's handing over.

    Args:
        node: the leader.
        generation: the one it leads.
        heartbeats: keep the lease.
    """

    __slots__ = ("_generation", "_heartbeats", "_node", "asked", "deadline_ns", "to")

    def __init__(self, node: LogNode, generation: int, heartbeats: HeartbeatRounds) -> None:
        self._node, self._generation, self._heartbeats = node, generation, heartbeats
        #: the next leader; "" if the leader is not handing over
        self.to: NodeId = ""
        #: whether it was told to campaign
        self.asked = False
        #: when this leader carries on by itself
        self.deadline_ns = NEVER_NS

    @property
    def under_way(self) -> bool:
        """Whether the leader is handing over, so that it takes no entries."""
        return self.to != ""

    def begin(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to another voter; False if that is not possible."""
        node = self._node
        if self.under_way or to == node.name or to not in node.membership.current.voters:
            return False
        self.to, self.deadline_ns = to, now_ns + node.config.election_max_ns
        return True

    def caught_up(self, peer: NodeId, match: int) -> None:
        """A peer's log is known to equal the leader's up to ``match``."""
        if peer != self.to or self.asked or match != self._node.log.last_index:
            return
        self.asked = True
        self._heartbeats.void_lease()
        self._node.send_durably(peer, TimeoutNow(self._generation))

    def tick(self, now_ns: int) -> None:
        """Carry on, if the chosen voter did not take over in time."""
        if now_ns >= self.deadline_ns:
            self.give_up()

    def give_up(self) -> None:
        """Carry on."""
        self.to, self.asked, self.deadline_ns = "", False, NEVER_NS
