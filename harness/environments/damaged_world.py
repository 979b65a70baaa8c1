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
            return {"skipped": True, "why": self._why_not(node)}
        after = disk.files()
        bit = all(after.get(name) == content for name, content in done.changed.items())
        return {"kind": done.kind, "file": done.file, "at": done.at, "changed_bytes": int(bit)}

    def _why_not(self, node: str) -> str:
        """Why a node's files were not damaged, as the atlas of real disks says it."""
        atlas = self._world.atlas
        if node in atlas.damaged and not self._world.alive(node):
            return f"the files of {node} are damaged already"
        if atlas.allows(node):
            return "no file can be damaged so, or its last promise is not synced yet"
        if not atlas.damaged:
            return f"the disk of {node} is needed for a majority"
        return f"the disks of {', '.join(atlas.damaged)} are damaged: no other may be"

    async def is_repaired(self, node: str) -> bool:
        """Whether a node whose files were damaged has again what it promised."""
        status = self._world.status(node)
        return status is not None and status.get("recovering") is None
