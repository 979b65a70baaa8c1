"""The context of a fault, and the record of its effect.

A fault is a function of a :class:`FaultContext` that does something to the world and returns an
:class:`Injected`: to whom, what, and how it ends. Everything random is drawn from the context's one
stream, so that a seed is one run.

Used by the modules of :mod:`cluster.simulation.faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from cluster.simulation.membership_churn import MembershipChurn
from cluster.simulation.network import LinkFault
from cluster.simulation.ring_churn import RingChurn
from cluster.simulation.world import World


class Injected(NamedTuple):
    """The effect of a fault: the nodes, the words, and the way to undo it."""

    nodes: list[str]
    value: dict[str, Any]
    heal: Callable[[], object]


class FaultOptions(Protocol):
    """The options of a run, as faults see them."""

    @property
    def faults(self) -> tuple[str, ...]: ...
    @property
    def interval_ns(self) -> int: ...
    @property
    def duration_ns(self) -> int: ...
    @property
    def cut_clients(self) -> bool: ...
    @property
    def clock_rates(self) -> tuple[float, ...]: ...


class LinkFaults:
    """The faults of all links, of which partitions and bad packets each have a share.

    Args:
        world: whose network.
    """

    def __init__(self, world: World) -> None:
        self._network = world.network
        self._shares: dict[str, dict[tuple[str, str], LinkFault]] = {}

    def set(self, share: str, faults: dict[tuple[str, str], LinkFault]) -> Callable[[], None]:
        """Replace a share; what takes it away again, unless a later one has taken its place."""
        self._shares[share] = faults
        self._apply()

        def heal() -> None:
            if self._shares.get(share) is faults:
                self._shares[share] = {}
                self._apply()

        return heal

    def _apply(self) -> None:
        # a cut is stronger than bad packets
        packets, cuts = self._shares.get("packets", {}), self._shares.get("cuts", {})
        self._network.set_links({**packets, **cuts})


class FaultContext:
    """A world under faults.

    Args:
        world: whom to torment.
        options: which faults, how often, how long.
        stopped: whether the faults are over.
    """

    def __init__(self, world: World, options: FaultOptions, stopped: Callable[[], bool]) -> None:
        self.world = world
        self.options = options
        self.random = world.rng("swarm", "gremlin")
        self.links = LinkFaults(world)
        churn = RingChurn if world.role == "leaderless" else MembershipChurn
        self.churn: MembershipChurn | RingChurn = churn(world, stopped)

    def one(self) -> str:
        """A node; more often than not the leader, where faults hurt."""
        leader = self.world.leader()
        if leader is not None and self.random.random() < 0.6:
            return leader
        return self.random.choice(self.world.nodes)
