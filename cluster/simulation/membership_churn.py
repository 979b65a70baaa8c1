"""Changes of members as a fault: a node is removed under load, and comes back with an empty disk.

An operator's replacement of a machine, at random moments and in the middle of other faults: ask the
leader to remove a member; let the removed node run on for a while, for it may not know yet; wipe
it; start it under its next id; ask for it as a learner; promote it once it has caught up. Every
step is a client's request like any other, through partitions and crashes: it may be refused, and
its outcome may be unknown. Then the cluster is asked who its members are, and only a node that is
definitely none is wiped.

Used by :mod:`cluster.simulation.swarm`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cluster.core.member_requests import MEMBERS
from cluster.simulation.world import MS, World
from cluster.wire import Command

if TYPE_CHECKING:
    from cluster.client.session import Complete

#: Name of the session that asks.
OPERATOR = "operator"
#: Fewer voters are never asked for: one more fault must leave a majority.
VOTERS_MIN = 2
#: Between two attempts at one step.
AGAIN_NS = 200 * MS


class MembershipChurn:
    """The operator.

    Args:
        world: where.
        stopped: whether the faults are over; nothing is asked after that.
    """

    def __init__(self, world: World, stopped: Callable[[], bool]) -> None:
        self._world = world
        self._stopped = stopped
        self._busy = world.atlas.leaving
        #: how many changes of each kind were acknowledged
        self.done: dict[str, int] = {}

    def remove(self, node: str) -> Callable[[], None]:
        """Ask for a node's removal; what brings it back."""
        if node in self._busy or not self._may_shrink(node):
            return lambda: None
        self._busy[node] = None
        self._ask("remove-member", self._world.member(node), lambda outcome: None)
        return lambda: self._replace(node)

    def _may_shrink(self, node: str) -> bool:
        """Whether one voter less still is a majority of sound disks, and may lose another node."""
        world, leader = self._world, self._world.leader()
        status = world.status(leader) if leader is not None else None
        if status is None or len(status["members"]) <= VOTERS_MIN:
            return False
        left = {*status["members"]} - {world.member(each) for each in (node, *self._busy)}
        damaged = left.intersection(world.member(each) for each in world.atlas.damaged)
        return len(damaged) * 2 < len(left)

    def _replace(self, node: str) -> None:
        """Bring a node back that was asked to leave, if it did."""

        def on_outcome(outcome: Complete) -> None:
            if outcome.status != "ok":
                self._later(self._replace, node)
                return
            taking = {*outcome.value["voters"], *outcome.value["outgoing"]}
            if {*taking, *outcome.value["learners"]} & {self._world.member(node)}:
                del self._busy[node]  # it is still there: the removal was refused, or lost
            else:
                self._wipe(node)

        self._ask(MEMBERS, "", on_outcome)

    def _wipe(self, node: str) -> None:
        self._world.crash(node)
        member = self._world.wipe(node)
        self._world.restart(node)
        self._until_ok("add-learner", member, lambda: self._promote(node, member))

    def _promote(self, node: str, member: str) -> None:
        def done() -> None:
            del self._busy[node]

        self._until_ok("promote", member, done)

    def _until_ok(self, op: str, member: str, then: Callable[[], None]) -> None:
        def on_outcome(outcome: Complete) -> None:
            if outcome.status == "ok":
                then()
            else:
                self._later(self._until_ok, op, member, then)

        self._ask(op, member, on_outcome)

    def _later(self, step: Callable[..., None], *arguments: Any) -> None:
        self._world.at(AGAIN_NS, step, *arguments)

    def _ask(self, op: str, member: str, done: Callable[[Complete], None]) -> None:
        if self._stopped():
            return

        def on_outcome(outcome: Complete) -> None:
            if outcome.status == "ok":
                self.done[op] = self.done.get(op, 0) + 1
            if not self._stopped():
                done(outcome)

        self._world.session(OPERATOR, window=4).submit(Command(op, member), done=on_outcome)
