"""The gremlin: injects faults at random times, and heals each after a while.

Used by :mod:`cluster.simulation.swarm`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cluster.simulation.faults.context import FaultContext, FaultOptions
from cluster.simulation.faults.table import KINDS
from cluster.simulation.world import World


class SwarmFault(msgspec.Struct):
    """One fault of a run.

    Args:
        kind: one of :data:`~cluster.simulation.faults.table.KINDS`.
        nodes: the nodes it was done to.
        value: what was done, JSON-ready.
        begin_ns: virtual time of the injection.
        end_ns: virtual time of the heal; -1 if the safety phase ended before.
    """

    kind: str
    nodes: list[str]
    value: dict[str, Any]
    begin_ns: int
    end_ns: int = -1


class Gremlin:
    """Injects faults at random, and heals each after a while.

    Args:
        world: whom to torment.
        options: which faults, how often, how long.
        end_ns: inject nothing after this.
    """

    def __init__(self, world: World, options: FaultOptions, *, end_ns: int) -> None:
        self.injected: dict[str, int] = dict.fromkeys(options.faults, 0)
        self.faults: list[SwarmFault] = []
        self._world, self._options, self._end_ns = world, options, end_ns
        self._stopped = False
        self._context = FaultContext(world, options, lambda: self._stopped)
        self._random = self._context.random
        for kind in options.faults:
            self._plan(kind)

    @property
    def changed(self) -> dict[str, int]:
        """How many changes of members of each kind were acknowledged."""
        return self._context.churn.done

    def stop(self) -> None:
        """Inject nothing more; heals still due do nothing."""
        self._stopped = True

    def _plan(self, kind: str) -> None:
        delay_ns = int(self._random.expovariate(1 / self._options.interval_ns))
        self._world.at(delay_ns, self._inject, kind)

    def _inject(self, kind: str) -> None:
        if self._stopped or self._world.now_ns >= self._end_ns:
            return
        self.injected[kind] += 1
        done = KINDS[kind](self._context)
        fault = SwarmFault(kind, done.nodes, done.value, self._world.now_ns)
        self.faults.append(fault)
        lasts_ns = int(self._random.expovariate(1 / self._options.duration_ns))
        self._world.at(lasts_ns, self._heal, fault, done.heal)
        self._plan(kind)

    def _heal(self, fault: SwarmFault, heal: Callable[[], object]) -> None:
        if not self._stopped:
            heal()
            fault.end_ns = self._world.now_ns
