"""Views of the nodes of a world: whether they run, their status, their state.

Used by :class:`cluster.simulation.world.World`, whose methods these are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.ports import Core
from cluster.simulation.disk import SimDisk
from cluster.simulation.heap import EventHeap
from cluster.simulation.invariants import View
from cluster.simulation.node import SimNode
from cluster.wire import Entry


class NodeViews:
    """Looks.

    Args:
        nodes: by name; an unknown name raises.
        heap: virtual time.
        ablations: what the nodes run with, as their status says.
        view_of: how to look into a core.
    """

    __slots__ = ("_ablations", "_heap", "_nodes", "_view_of")

    def __init__(
        self,
        nodes: Mapping[str, SimNode],
        *,
        heap: EventHeap,
        ablations: Sequence[str],
        view_of: Callable[[Any], View],
    ) -> None:
        self._nodes, self._heap = nodes, heap
        self._ablations, self._view_of = ablations, view_of

    def member(self, node: str) -> str:
        """The member id of a node: its name, until its disk is wiped."""
        return self._nodes[node].member

    def alive(self, node: str) -> bool:
        """Whether the node's process exists (a paused one does)."""
        return self._nodes[node].up

    def paused(self, node: str) -> bool:
        """Whether the node's process is stopped."""
        return self._nodes[node].paused

    def why_down(self, node: str) -> str:
        """Why the node does not run; empty if it does."""
        return self._nodes[node].why_down

    def clock_offset_ns(self, node: str) -> int:
        """How far the node's wall clock is from the right time."""
        return self._nodes[node].clock.offset_ns

    def clock_rate(self, node: str) -> float:
        """How fast the node's monotonic clock runs."""
        return self._nodes[node].clock.rate

    def status(self, node: str) -> dict[str, Any] | None:
        """The node's status with the chaos a real one would show; None if it does not answer."""
        found = self._nodes[node]
        if found.core is None or found.paused:
            return None
        return {
            **found.core.status(),
            "ablations": list(self._ablations),
            "chaos": False,
            "wall_offset_ns": self.clock_offset_ns(node),
        }

    def state_hash(self, node: str) -> tuple[int, str] | None:
        """Applied index and state hash of a node; None if it does not answer."""
        found = self._nodes[node]
        if found.core is None or found.paused:
            return None
        return found.core.status()["applied"], found.core.state_hash()

    def log(self, node: str) -> list[Entry] | None:
        """The log a node holds in memory, from its first index; None if it does not answer."""
        found = self._nodes[node]
        consensus = getattr(found.core, "consensus", None)  # only our own core has one
        if consensus is None or found.paused:
            return None
        held: list[Entry] = consensus.log.between(
            consensus.log.first_index, consensus.log.last_index
        )
        return held

    def core(self, node: str) -> Core | None:
        """The node's core, for white-box tests; None if it is down."""
        return self._nodes[node].core

    def disk(self, node: str) -> SimDisk:
        """The node's disk."""
        return self._nodes[node].disk

    def leader(self) -> str | None:
        """The running node that leads the highest generation; None if none leads."""
        best: tuple[int, str] | None = None
        for name, node in self._nodes.items():
            if node.core is None:
                continue
            view = self._view_of(node.core)
            if view.role == "leader" and (best is None or view.generation > best[0]):
                best = (view.generation, name)
        return best[1] if best else None
