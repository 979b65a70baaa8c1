"""Damage at rest in simulation, as :mod:`harness.environments.damaged_files` has it on disks."""

from __future__ import annotations

from random import Random
from typing import Any

from cluster.simulation.damaging import damage
from cluster.simulation.world import World


class DamagedWorld:
    """Ability ``files`` of the simulated environment.

    Args:
        world: its world.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def knows(self, node: str) -> bool:
        """Every simulated node's files are known."""
        return node in self._world.nodes

    async def damage(self, node: str, kind: str, seed: int) -> dict[str, Any]:
        """Kill a node's process and damage one of its files."""
        disk = self._world.disk(node)
        done = damage(self._world, node, kind, Random(seed))
        if done is None:
            return {"skipped": True, "why": "no file can be damaged so, or another disk is damaged"}
        after = disk.files()
        bit = all(after.get(name) == content for name, content in done.changed.items())
        return {"kind": done.kind, "file": done.file, "at": done.at, "changed_bytes": int(bit)}

    async def is_repaired(self, node: str) -> bool:
        """Whether a node whose files were damaged has again what it promised."""
        status = self._world.status(node)
        return status is not None and status.get("recovering") is None
