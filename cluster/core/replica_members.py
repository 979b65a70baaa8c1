"""How a replica answers requests about the cluster itself: members, and who leads.

The second layer of :class:`cluster.core.replica.Replica`. What the requests are and mean is told in
``member_requests``; what makes a change safe, in ``cluster.consensus.membership_change``.

Source: see ``cluster.core.replica``.
"""

from __future__ import annotations

from cluster.channel.request_waiting_list import Waiter
from cluster.consensus.leader_and_followers import LEADER
from cluster.consensus.membership import Configuration
from cluster.consensus.membership_change import is_so
from cluster.core.member_requests import (
    MEMBERS,
    TRANSFER,
    change_of,
    describe,
    member_request_problem,
)
from cluster.core.replica_state import ReplicaState
from cluster.core.state_machine import Answer
from cluster.ports import NodeId
from cluster.wire import Command, Request


class ReplicaMembers(ReplicaState):
    """Requests about members and leadership."""

    def _take_member_request(self, now_ns: int, waiter: Waiter, request: Request) -> None:
        command = request.command
        wrong = member_request_problem(command)
        if wrong:
            self._reply(waiter, "fail", error=wrong)
        elif command.op == MEMBERS and request.mode == "stale":
            self._answer(waiter, self._members(), self.applied)
        elif command.op == MEMBERS:
            self._take_read(now_ns, waiter, request)
        elif command.op == TRANSFER and command.key and command.key == self.consensus.leader:
            self._answer(waiter, ("ok", command.key, ""), self.applied)
        elif self.consensus.role != LEADER:
            self._redirect(waiter)
        elif not self.queue.has_room(self.pending, self.config.pending_max):
            self._reply(waiter, "retry", error=f"{self.pending} requests are waiting already")
        elif command.op == TRANSFER:
            self._take_transfer(now_ns, waiter, command.key)
        else:
            self._take_change(now_ns, waiter, command)

    def _take_transfer(self, now_ns: int, waiter: Waiter, to: NodeId) -> None:
        to = to or self.consensus.best_successor()
        if to not in self.consensus.members:
            told = ", ".join(self.consensus.members)
            error = f"{to or 'nobody'} is no voter that could lead; the voters are {told}"
            self._reply(waiter, "fail", error=error)
        elif self.consensus.transfer_leadership(now_ns, to):
            self.member_requests.wait_for_leader(waiter, to)
        else:
            self._reply(waiter, "retry", error="leadership is being handed over already")

    def _take_change(self, now_ns: int, waiter: Waiter, command: Command) -> None:
        change = change_of(command)
        refusal = self.consensus.change_members(now_ns, change)
        if refusal is not None:
            self._reply(waiter, refusal.status, error=refusal.why)
            return
        self.member_requests.wait_for_change(waiter, change)
        found = self.consensus.configuration
        if self.consensus.configuration_index <= self.applied and is_so(found, change):
            self._answer_changes(found)

    def _answer_changes(self, configuration: Configuration) -> None:
        for waiter in self.member_requests.certain(configuration):
            self._answer(waiter, self._members(configuration), self.applied)

    def _members(self, configuration: Configuration | None = None) -> Answer:
        found = configuration or self.consensus.certain_configuration
        return ("ok", describe(found, node=self.node, leader=self.consensus.leader), "")

    def _notice_transfers(self) -> None:
        """Answer who asked for another leader, once there is one, or the attempt is over."""
        consensus = self.consensus
        if not consensus.leader or consensus.handing_over:
            return
        for pending in self.member_requests.take_transfers():
            if consensus.leader == pending.to:
                self._answer(pending.waiter, ("ok", pending.to, ""), self.applied)
            else:
                error = f"{pending.to} did not take over in time; {consensus.leader} leads"
                self._reply(pending.waiter, "fail", error=error)

    def _take_read(self, now_ns: int, waiter: Waiter, request: Request) -> None:
        """A linearizable answer is wanted: the next layer fills this."""
