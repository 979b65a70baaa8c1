"""Starved nodes of this machine: the control groups of a run's nodes, written down and removed.

A limit belongs to the node, not to the process: one that is started again gets it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from harness.environments.journal import Journal
from harness.environments.pressure import cgroups
from harness.environments.processes import ProcessId
from harness.errors import SetupError


class LocalPressure:
    """Limits of all nodes of a run whose processes are this machine's.

    Args:
        journal: the run's; groups are written down before they are made.
        processes_of: the running processes of a node.
    """

    def __init__(self, journal: Journal, processes_of: Callable[[str], list[ProcessId]]) -> None:
        self._journal, self._processes_of = journal, processes_of
        self._nodes: dict[str, cgroups.Squeezed] = {}
        self._trees, self._lacks = cgroups.trees()

    @property
    def why_not(self) -> str:
        """Why there can be no limits at all here; empty if there can be some."""
        return "" if self._trees else "; ".join(dict.fromkeys(self._lacks.values()))

    async def set(self, node: str, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Have these limits for a node; an empty mapping heals."""
        squeezed = self._nodes.get(node)
        if squeezed is None:
            if not limits:
                return {}
            name = f"{cgroups.prefix(self._journal.run_id)}-{node}"
            squeezed = cgroups.Squeezed(name, self._trees)
            self._journal.write_down("cgroups", squeezed.directories)
            self._nodes[node] = squeezed
        pids = [process.pid for process in self._processes_of(node)]
        evidence = await asyncio.to_thread(squeezed.set, limits, pids)
        return {**evidence, "pids": len(pids)}

    async def restore(self, node: str) -> None:
        """Give a process that was started again the node's limits."""
        squeezed = self._nodes.get(node)
        if squeezed is not None and squeezed.limits:
            await self.set(node, squeezed.limits)

    async def heal_all(self) -> None:
        """Lift every limit; what cannot be lifted is named by :meth:`left`."""
        for name, squeezed in self._nodes.items():
            if squeezed.limits:
                try:
                    await self.set(name, {})
                except SetupError:
                    continue

    def remove(self) -> None:
        """Remove what groups are still there, once their processes have ended."""
        for squeezed in self._nodes.values():
            cgroups.remove({"cgroups": squeezed.directories})

    def left(self) -> list[str]:
        """Which nodes are still starved."""
        return [f"{name} is left only {s.limits}" for name, s in self._nodes.items() if s.limits]
