"""Pressure leaves nodes little processor time or memory: a Protocol with two implementations.

:class:`harness.environments.pressure.local.LocalPressure` makes control groups on this machine,
:class:`harness.environments.pressure.remote.RemotePressure` has Docker or a host's root make them.
A limit belongs to the node, not to the process: one that is started again gets it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Pressure(Protocol):
    """The limits of all nodes of one run."""

    @property
    def why_not(self) -> str:
        """Why there can be no limits at all here; empty if there can be some."""
        ...

    async def set(self, node: str, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Have these limits for a node; an empty mapping heals. The evidence."""
        ...

    async def restore(self, node: str) -> None:
        """Give a process that was started again the node's limits."""
        ...

    async def heal_all(self) -> None:
        """Lift every limit that can be lifted."""
        ...

    def remove(self) -> None:
        """Remove what is left of groups, once the nodes' processes have ended."""
        ...

    def left(self) -> list[str]:
        """Which nodes are still starved."""
        ...
