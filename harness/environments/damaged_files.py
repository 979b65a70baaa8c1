"""Damage at rest: a node of the reference cluster is killed and one of its files is damaged.

The files are read back, so the evidence is what is on the disk. A disk counts as damaged until its
node runs again and says that it was repaired (``recovering`` in its status): meanwhile no other may
be damaged, since one good copy of everything must stay. Before each damage all nodes are asked who
votes.

Used by environments of machines, for nodes that are processes of this machine; the damage itself
is :mod:`cluster.simulation.file_damage`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.environments.disk.atlas import FaultAtlas
from harness.environments.http import HttpStatus
from harness.environments.machines.local import LocalMachine
from harness.environments.node import MachineNode

#: why there is no ability ``files`` where nodes are not processes of this machine
ELSEWHERE = (
    "the end of a node's log cannot be cut on docker or ssh, where its files are not this "
    "machine's; use --env local or netns"
)


class DamageAtRest:
    """Damages files of nodes that it kills first.

    Args:
        atlas: which disks are damaged, by any fault.
        names: all nodes.
        node_of: the node of a name.
    """

    def __init__(
        self, atlas: FaultAtlas, names: Sequence[str], node_of: Callable[[str], MachineNode]
    ) -> None:
        self._atlas = atlas
        self._names = tuple(names)
        self._node_of = node_of
        self._hit: dict[str, MachineNode] = {}

    def knows(self, name: str) -> bool:
        """Whether this node is one of the reference cluster's, with its files on this machine."""
        data = _data_of(self._node_of(name))
        return data is not None and (data / "identity").is_file()

    async def damage(self, name: str, kind: str, seed: int) -> dict[str, Any]:
        """Kill the node and damage one of its files; others start it again.

        Args:
            name: which.
            kind: one of :data:`cluster.simulation.file_damage.KINDS`.
            seed: chooses file and place.

        Returns:
            ``kind``, ``file``, ``at`` and ``changed_bytes`` as read back; or ``skipped`` and why.
        """
        node = self._node_of(name)
        data = _data_of(node)
        assert data is not None, f"{name} is asked for and its files are not known"
        for hit in list(self._hit):
            await self.is_repaired(hit)
        await self.hear_voters()
        why = self._atlas.why_no_damage(name)
        if name in self._hit and not node.processes.alive:
            why = f"the files of {name} are damaged already"
        if why:
            return {"skipped": True, "why": why}
        self._atlas.note(name)
        self._hit[name] = node
        killed = await node.processes.kill()
        found = await asyncio.to_thread(damage_directory, data, kind, seed)
        return {**found, "killed": killed}

    async def hear_voters(self) -> None:
        """Ask every node of ours which configurations it knows: the atlas counts their voters."""
        said = await asyncio.gather(*(_status(self._node_of(name)) for name in self._names))
        for name, status in zip(self._names, said, strict=True):
            if status is not None:
                self._atlas.heard(name, status)

    async def is_repaired(self, name: str) -> bool:
        """Whether a node runs and has what it promised; its disk is no longer damaged then."""
        if name not in self._hit:
            return True
        node = self._hit[name]
        status = await _status(node)
        if status is None or status.get("recovering") is not None:
            return False
        del self._hit[name]
        self._atlas.repaired(name)
        return True


def _data_of(node: MachineNode) -> Path | None:
    """Where a node of the reference cluster has its files on this machine; None otherwise."""
    ours = node.processes.chaos_port is not None
    return node.machine.data if ours and isinstance(node.machine, LocalMachine) else None


async def _status(node: MachineNode) -> dict[str, Any] | None:
    processes = node.processes
    if processes.chaos_port is None or not processes.answers:
        return None
    client = await node.http(processes.chaos_port, timeout_s=2.0)
    client.token = processes.chaos_token
    try:
        found = await client.get("/status")
    except (OSError, TimeoutError, HttpStatus):
        return None
    finally:
        await client.close()
    return found if isinstance(found, dict) else None


def damage_directory(data: Path, kind: str, seed: int) -> dict[str, Any]:
    """Damage one file of a data directory that no process uses, and read it back.

    Args:
        data: the directory.
        kind, seed: as for :meth:`DamageAtRest.damage`.
    """
    from cluster.simulation.file_damage import draw_damage, is_data

    before = {each.name: each.read_bytes() for each in data.iterdir() if is_data(each.name)}
    done = draw_damage(kind, before, Random(seed))
    if done is None:
        return {"skipped": True, "why": "there is no file that can be damaged so"}
    for name, content in done.changed.items():
        _write(data / name, before[name], content)
    after = {name: (data / name).read_bytes() for name in done.changed if (data / name).exists()}
    changed = sum(_differing(before[name], after.get(name, b"")) for name in done.changed)
    return {"kind": done.kind, "file": done.file, "at": done.at, "changed_bytes": changed}


def _write(path: Path, before: bytes, content: bytes | None) -> None:
    """Make a file so. What was and stays its empty room is not written again."""
    if content is None:
        path.unlink()
        return
    with path.open("r+b") as file:
        if len(content) < len(before):
            file.truncate(len(content))
        file.write(content[: max(len(before.rstrip(b"\0")), len(content.rstrip(b"\0")))])
        file.flush()
        os.fsync(file.fileno())


def _differing(before: bytes, after: bytes) -> int:
    """Bytes that differ; zeros at the end are a file's room, and count as nothing."""
    before, after = before.rstrip(b"\0"), after.rstrip(b"\0")
    longer = max(len(before), len(after))
    return longer - sum(a == b for a, b in zip(before, after, strict=False))
