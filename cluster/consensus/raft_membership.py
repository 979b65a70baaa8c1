"""How a Raft leader carries a change of members through, and how it leaves if it is not in it.

The fifth layer of :class:`cluster.consensus.raft.Raft`; the design and its reasons are told in
``membership_change``, who counts in ``membership``. A change is an entry like any other; what is
here is who is sent the log from that entry on, the second entry of a joint change, and stepping
down.

Source: Raft paper 6; Raft thesis 4.2.
"""

from __future__ import annotations

from cluster.channel.request_pipeline import RequestPipeline
from cluster.consensus.leader_and_followers import LEADER
from cluster.consensus.membership import Configuration
from cluster.consensus.membership_change import (
    ADD_LEARNER,
    PROMOTE,
    REMOVE,
    Change,
    Refusal,
    is_so,
    next_configuration,
    objection,
    settled,
)
from cluster.consensus.raft_elections import RaftElections
from cluster.ports import NodeId
from cluster.wire import TimeoutNow


class RaftMembership(RaftElections):
    """Changes of members."""

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Begin a change, if this node leads and nothing speaks against it.

        It is done when a configuration that is not joint, and in which it is so, is certain.

        Returns:
            Why not; None if it began, is under way already, or is so already.
        """
        self.now_ns = now_ns
        if self.role != LEADER or self._transfer:
            return Refusal("retry", f"{self.node} does not lead, or is handing leadership over")
        if is_so(settled(self.membership.current), change):
            return None
        wrong = self.may_change_members()
        if wrong:
            return Refusal("retry", wrong)
        wrong = objection(self.membership.current, change) or self.unwise(change)
        if wrong:
            return Refusal("fail", wrong)
        self._append_configuration(self.changed_configuration(change))
        return None

    # -- decisions, which ablations override -------------------------------------------------------

    def changed_configuration(self, change: Change) -> Configuration:
        """What a change begins with: a joint configuration if voters change."""
        return next_configuration(self.membership.current, change)

    def unwise(self, change: Change) -> str:
        """Why a change would make the cluster weaker than it must be just now; "" if not."""
        member = change.member
        if change.kind == PROMOTE:
            pipeline = self._pipelines.get(member)
            match = self.writes.durable_index if pipeline is None else pipeline.match
            behind = self.log.last_index - match
            if not self._is_heard(member):
                return f"{member} is not heard: it would count, and not answer"
            if behind > self.config.promote_lag_entries:
                return (
                    f"{member} is {behind} entries behind: let it come within "
                    f"{self.config.promote_lag_entries} before it counts"
                )
        if change.kind == REMOVE and member in self.membership.current.voters:
            left = [node for node in self.membership.current.voters if node != member]
            heard = [node for node in left if self._is_heard(node)]
            if len(heard) * 2 <= len(left):
                return (
                    f"without {member} the voters are {', '.join(left)}, of which only "
                    f"{', '.join(heard) or 'nobody'} is heard: no majority"
                )
        return ""

    def _is_heard(self, node: NodeId) -> bool:
        if node == self.node:
            return True
        return self.now_ns - self._rounds.heard_ns(node) <= self.config.election_max_ns

    # -- steps -------------------------------------------------------------------------------------

    def _append_configuration(self, configuration: Configuration) -> None:
        """Put a configuration into the log: from this moment this leader counts by it."""
        self.membership.append(self.log.last_index + 1, configuration)
        self._configuration_changed()
        self._follow_configuration()
        self._append_own((configuration.encode(),), "config")

    def _follow_configuration(self) -> None:
        """Send the log to everybody concerned, and to nobody else."""
        peers = self._peers()
        for peer in peers:
            if peer not in self._pipelines:
                next_index, window = self.log.last_index + 1, self.config.inflight_max
                self._pipelines[peer] = RequestPipeline(
                    next_index, window=window, now_ns=self.now_ns
                )
                self._rounds.admit(peer, self.now_ns)
        for peer in [peer for peer in self._pipelines if peer not in peers]:
            del self._pipelines[peer]
            self._transfers.pop(peer, None)
            self._rounds.forget(peer)
        if self._transfer and self._transfer.to not in self.membership.current.voters:
            self._transfer = None

    def _continue_change(self) -> None:
        """The mark rose: take the next step of a change, if its last one has become certain."""
        configuration, index = self.membership.current, self.membership.index
        if index > self.high_water_mark or index == self._settled_index:
            return
        if configuration.joint:
            self._append_configuration(settled(configuration))
            return
        self._settled_index = index
        if len(self._pipelines) != len(self._peers()):
            self._broadcast_heartbeat()  # whoever left learns that it is certain
            self._follow_configuration()
        if self.node not in configuration.voters:
            self._retire()

    def _retire(self) -> None:
        """This leader is no member any more: let the best of the others take over at once."""
        heir = self.best_successor()
        if heir:
            self._send(heir, TimeoutNow(self.generation), after=self.writes.after_hard_state)
        self._note("left", generation=self.generation, heir=heir)
        self._become_follower(self.generation)

    def best_successor(self) -> NodeId:
        """The other voter that is heard and has most of the log; "" if there is none."""
        best, most = "", -1
        for peer, pipeline in self._pipelines.items():
            is_better = pipeline.match > most and peer in self.membership.current.voters
            if is_better and self._is_heard(peer):
                best, most = peer, pipeline.match
        return best


__all__ = ["ADD_LEARNER", "PROMOTE", "REMOVE", "Change", "RaftMembership", "Refusal"]
