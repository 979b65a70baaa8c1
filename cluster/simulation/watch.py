"""The interface by which a world reports to a role's invariants.

Each role of the reference cluster has invariants of its own, made by
:func:`cluster.simulation.reference.role_of`. Used by the world and its nodes.
"""

from __future__ import annotations

from typing import Protocol

from cluster.ports import Append, Core, Recovered, SaveSnapshot, Send


class Watch(Protocol):
    """The invariants of a role, called for every event of a node."""

    def started(self, node: str, recovered: Recovered, *, excused: bool) -> None:
        """``node`` starts from what its storage found; ``excused`` if its disk was damaged."""

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""

    def snapshotting(self, node: str, effect: SaveSnapshot) -> None:
        """The core of ``node`` asked for this snapshot."""

    def persisted(self, node: str, io_id: int) -> None:
        """Storage reported every write up to ``io_id`` durable."""

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now."""

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done."""
