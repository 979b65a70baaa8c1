"""Faulty disks: what each node's disk should be like, and who makes it so.

A node with our chaos endpoint is asked to change its own disk. Below any other database's data is a
file system in user space (:mod:`harness.environments.disk.disks`), mounted when the database is
first started; or a small volume of its own, which can only be full
(:mod:`harness.environments.disk.volumes`).

A disk fault belongs to the machine, not to the process. A node that is killed and started again
comes back with it. A node that is stopped or dead when the fault is set gets it when it runs again
(``deferred`` in the evidence). A flipped bit is for ever: the fault atlas keeps a majority of disks
undamaged for as long as the run lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from harness.environments import chaos
from harness.environments.disk import disks, volumes
from harness.environments.disk.atlas import FaultAtlas
from harness.environments.http import HttpStatus
from harness.environments.machines.machine import Machine
from harness.environments.node_processes import NodeProcesses
from harness.errors import SetupError

#: marks a flip that found nothing to damage
NO_ROOM_IN_OURS = "no file is long enough to be damaged safely"
NO_FILE = "there is no file to be damaged"


class DiskFaults:
    """The disks of all nodes of a run.

    Args:
        node_count: how many nodes there are.
        make: makes a disk below a machine's data; not mounted yet.
        option: ``on``, ``off`` or ``auto``: whether foreign databases get one.
        volumes_of: per node its volume, where the run has them instead.
    """

    def __init__(
        self,
        node_count: int,
        make: Callable[[Machine], disks.Disk],
        option: Any,
        volumes_of: Mapping[str, volumes.Volume] | None = None,
    ) -> None:
        self._make, self._volumes = make, volumes_of
        self._automatic = option == "auto"
        self._wanted = option in ("on", True)
        #: which nodes are damaged, by any fault
        self.atlas = FaultAtlas(spare=(node_count - 1) // 2)
        self._mounted: dict[str, disks.Disk] = {}
        self._faulty: dict[str, tuple[NodeProcesses, dict[str, Any]]] = {}
        self._deferred: set[str] = set()

    def needed(self) -> None:
        """A nemesis of the run makes disks faulty."""
        self._wanted = self._wanted or self._automatic

    def damaged(self) -> list[str]:
        """Nodes whose durable data a fault damaged: they may refuse to start."""
        return list(self.atlas.damaged)

    # -- mounting ------------------------------------------------------------------------------

    async def provide(self, node: NodeProcesses) -> None:
        """Have a foreign database's files on a disk that can be made faulty, before it starts.

        Raises:
            SetupError: that was asked for by the option ``disk``, and cannot be had.
        """
        if not self._wanted or self._volumes is not None:
            return
        if self._automatic and disks.missing():
            # Said when a fault is injected: the run may need none of this node's disk.
            return
        if node.name not in self._mounted:
            self._mounted[node.name] = self._make(node.machine)
        disk = self._mounted[node.name]
        if not await disk.serves():
            await disk.start()
            if faults := self._now(node.name):
                await disk.set(faults)

    async def remove(self) -> None:
        """Unmount what :meth:`provide` mounted, once the databases have ended."""
        for name in list(self._mounted):
            await self._mounted.pop(name).stop()

    # -- setting -------------------------------------------------------------------------------

    async def set(self, node: NodeProcesses, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Make a node's disk so; an empty mapping heals. The evidence."""
        await node.refresh()
        disk = self._mounted.get(node.name)
        if disk is not None:
            return await self._set_below(node, disk, dict(faults))
        if node.chaos_port is None:
            return await asyncio.to_thread(self._set_volume, node, dict(faults))
        return await self._set_ours(node, dict(faults))

    def _now(self, name: str) -> dict[str, Any]:
        return self._faulty[name][1] if name in self._faulty else {}

    def _forget_healthy(self, node: NodeProcesses) -> None:
        """Drop what is healthy, unless a stopped process must still be healed."""
        if node.name in self._deferred and node.alive:
            return
        if not self._now(node.name):
            self._faulty.pop(node.name, None)

    async def _set_ours(self, node: NodeProcesses, faults: dict[str, Any]) -> dict[str, Any]:
        """Ask a node of ours."""
        if not faults and node.name not in self._faulty:
            return await chaos.post(node, "/chaos/disk", {}) if node.answers else {}
        if faults.get("flip") and (why := self._why_no_flip(node)):
            return {"skipped": True, "why": why}
        # A flipped bit is an event: a node that starts again must not lose another.
        kept = {name: what for name, what in faults.items() if name != "flip"}
        self._faulty[node.name] = (node, kept)
        if not node.answers:
            self._deferred.add(node.name)
            evidence: dict[str, Any] = {"deferred": True}
        elif faults.get("flip"):
            evidence = await self._flip_ours(node, kept)
        else:
            evidence = await chaos.post(node, "/chaos/disk", faults)
        self._forget_healthy(node)
        return evidence

    async def _flip_ours(self, node: NodeProcesses, kept: dict[str, Any]) -> dict[str, Any]:
        async def ask(faults: dict[str, Any]) -> dict[str, Any]:
            return await chaos.post(node, "/chaos/disk", faults)

        with self.atlas.damage(node.name) as damage:
            before = await ask(kept)
            after = await ask({**kept, "flip": True})
            return damage.flipped(before, after, else_=NO_ROOM_IN_OURS)

    async def _set_below(
        self, node: NodeProcesses, disk: disks.Disk, faults: dict[str, Any]
    ) -> dict[str, Any]:
        """Have faults of a disk that is ours, below a database that is not."""
        if not faults and node.name not in self._faulty:
            return await disk.set(None) if await disk.serves() else {}
        flip = faults.pop("flip", False)
        if flip and (why := self.atlas.why_no_damage(node.name)):
            return {"skipped": True, "why": why}
        self._faulty[node.name] = (node, faults)
        if not await disk.serves():
            # Its place went with the database; both come back together.
            self._forget_healthy(node)
            return {"deferred": True}
        found = await disk.set(faults)
        if flip and (why := self.atlas.why_no_damage(node.name)):
            found = {"skipped": True, "why": why}  # another node was damaged meanwhile
        elif flip:
            with self.atlas.damage(node.name) as damage:
                before = await disk.set(None)
                after = await disk.set({**faults, "flip": True})
                found = damage.flipped(before, after, else_=NO_FILE)
        self._forget_healthy(node)
        return found

    def _set_volume(self, node: NodeProcesses, faults: dict[str, Any]) -> dict[str, Any]:
        volume = (self._volumes or {}).get(node.name)
        if volume is None or set(faults) - {"full"}:
            if not faults and node.name not in self._faulty:
                return {}
            lacking, here = disks.missing(), volume is not None
            raise SetupError(volumes.why_not(node.name, faults, lacking=lacking, volume=here))
        if faults:
            self._faulty[node.name] = (node, faults)
            return volume.fill()
        evidence = volume.free()
        self._faulty.pop(node.name, None)
        return evidence

    def _why_no_flip(self, node: NodeProcesses) -> str:
        if not node.answers:
            return f"{node.name} is stopped, and only it can damage its disk where it is safe"
        return self.atlas.why_no_damage(node.name)

    # -- afterwards ----------------------------------------------------------------------------

    async def restore(self, node: NodeProcesses) -> None:
        """Give a process that runs again the disk its node has."""
        self._deferred.discard(node.name)
        if node.chaos_port is None or node.name not in self._faulty:
            return
        await chaos.serves_again(node)
        await chaos.post(node, "/chaos/disk", self._now(node.name))
        self._forget_healthy(node)

    async def resumed(self, node: NodeProcesses) -> None:
        """Tell a process that runs again what was set while it was stopped."""
        if node.name in self._deferred and node.answers:
            await self.restore(node)

    async def heal_all(self) -> None:
        """Set every disk right that can be reached; a dead process has no faults of its own."""
        for name, (node, _) in list(self._faulty.items()):
            try:
                await self.set(node, {})
            except (OSError, TimeoutError, HttpStatus, SetupError):
                # Kept as left over, unless the process, and so its fault, is gone.
                if not node.alive:
                    self._faulty.pop(name, None)

    def left(self) -> list[str]:
        """Which disks are still faulty."""
        return [f"the disk of {name} is {faults}" for name, (_, faults) in self._faulty.items()]
