"""Joins and leaves of role ``leaderless`` as a fault: a node leaves, and comes back as another.

An operator at random moments, in the middle of other faults: ask that a member leave; later find
out whether it did; wipe it, start it under its next id, and have it join through any other node.
Every step is a client's request, which may be refused, lost or of unknown outcome, and is made
again. If a change waits for a node that is down, the operator may lose patience, and have that one
leave as well. Only a node that is definitely no member of a settled ring is wiped.

Used by :mod:`cluster.simulation.swarm`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cluster.consensus.membership import name_of
from cluster.consensus.membership_change import REMOVE
from cluster.core.member_requests import MEMBERS
from cluster.gossip.requests import JOIN
from cluster.simulation.world import MS, World
from cluster.wire import Command

if TYPE_CHECKING:
    from cluster.client.session import Complete

#: Name of the session that asks.
OPERATOR = "operator"
#: Fewer members are never asked for.
MEMBERS_MIN = 2
#: Between two attempts at one step.
AGAIN_NS = 200 * MS
#: One time in so many that a change is found to wait for a node that is down, it is given up.
PATIENCE = 3


class RingChurn:
    """The operator.

    Args:
        world: where.
        stopped: whether the faults are over; nothing is asked after that.
    """

    def __init__(self, world: World, stopped: Callable[[], bool]) -> None:
        self._world, self._stopped = world, stopped
        self._random = world.rng("swarm", "ring-churn")
        self._busy: dict[str, None] = {}
        #: how many changes of each kind were acknowledged
        self.done: dict[str, int] = {}

    def remove(self, node: str) -> Callable[[], None]:
        """Ask that a node leave; what brings it back."""
        left = len(self._world.nodes) - len(self._busy)
        if node in self._busy or left <= MEMBERS_MIN:
            return lambda: None
        self._busy[node] = None
        self._ask(Command(REMOVE, self._world.member(node)), lambda outcome: None)
        return lambda: self._replace(node)

    def _replace(self, node: str) -> None:
        """Bring a node back that was asked to leave, if it did."""

        def on_outcome(outcome: Complete) -> None:
            member = self._world.member(node)
            if outcome.status != "ok":
                self._later(self._replace, node)
            elif member in outcome.value["retired"] and not outcome.value["outgoing"]:
                self._wipe(node)
            elif member in outcome.value["voters"] and not outcome.value["outgoing"]:
                del self._busy[node]  # it was refused, or lost, and is not repeated
            else:
                self._lose_patience(outcome.value["awaited"])
                self._later(self._replace, node)

        self._ask(Command(MEMBERS, ""), on_outcome)

    def _lose_patience(self, awaited: Sequence[str]) -> None:
        """Give up a node that is down, and that a change waits for, now and then."""
        for node in map(name_of, awaited):
            down = node not in self._busy and self._world.status(node) is None
            if down and not self._random.randrange(PATIENCE):
                self.remove(node)()

    def _wipe(self, node: str) -> None:
        self._world.crash(node)
        self._world.wipe(node)
        self._world.restart(node)
        self._join(node)

    def _join(self, node: str) -> None:
        """Have it join through any other node, until it is there."""

        def on_outcome(outcome: Complete) -> None:
            if outcome.status == "ok":
                del self._busy[node]
            else:
                self._later(self._join, node)

        world = self._world
        others = [world.member(each) for each in world.nodes if each != node]
        seed = self._random.choice(others)
        self._ask(Command(JOIN, seed, (world.member(node),)), on_outcome, to=node)

    def _later(self, step: Callable[..., None], *arguments: Any) -> None:
        self._world.at(AGAIN_NS, step, *arguments)

    def _ask(self, command: Command, done: Callable[[Complete], None], to: str = "") -> None:
        if self._stopped():
            return

        def on_outcome(outcome: Complete) -> None:
            if outcome.status == "ok":
                self.done[command.op] = self.done.get(command.op, 0) + 1
            if not self._stopped():
                done(outcome)

        session = self._world.session(OPERATOR, window=4)
        session.submit(command, to=to or None, recorded=False, done=on_outcome)
