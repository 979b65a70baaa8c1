"""Clock and disk faults of local nodes.

A node with our chaos endpoint is asked to change its own clock and disk, and answers with what is
now so. Any other process runs under libfaketime: its clock follows a file, drift is made by moving
the file in small steps, and what the clock says is read back through a probe, a child process under
the same shared object and file; that the node itself has the shared object is read from
``/proc/<pid>/maps``.

A clock or disk fault belongs to the machine, not to the process: a node that is killed and started
again comes back with it, and one that is stopped or dead when the fault is set gets it when it runs
again (``deferred`` in the evidence).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.environments import disks, faketime, volumes
from harness.environments.clock_reading import Exchange, ahead_ns, enough
from harness.environments.http import HttpStatus
from harness.environments.local_node import Home, LocalNode
from harness.errors import SetupError

_DRIFT_STEP_S = 0.05
_RESTORE_WITHIN_S = 10.0


class Clock(msgspec.Struct, frozen=True):
    """How wrong a node's clock is."""

    offset_ns: int = 0
    rate: float = 1.0


_RIGHT = Clock()


class LocalChaos:
    """Clock and disk faults of all nodes of a local environment."""

    def __init__(self, env: Home) -> None:
        self._env = env
        self._clocks: dict[str, Clock] = {}
        self._disks: dict[str, dict[str, Any]] = {}
        self._deferred: set[str] = set()
        self._damaged: list[str] = []
        self._drifts: dict[str, asyncio.Task[None]] = {}

    # -- clocks --------------------------------------------------------------------------------

    async def set_clock(self, node: LocalNode, *, offset_ns: int, rate: float) -> dict[str, Any]:
        """Set the clock and read it back; ``offset_ns`` in the evidence is what was read."""
        clock = Clock(offset_ns, rate)
        if clock == _RIGHT and node.name not in self._clocks:
            return {"offset_ns": 0, "rate": 1.0}
        self._clocks[node.name] = clock
        if node.chaos_port is None:
            evidence = await self._fake(node, clock)
        elif node.answers:
            evidence = await self._post_clock(node, clock)
        else:
            evidence = {"offset_ns": None, "rate": None, "by": "chaos", "deferred": True}
            self._deferred.add(node.name)
        self._forget_right(node)
        return evidence

    def _forget_right(self, node: LocalNode) -> None:
        """Drop what is healthy, unless a stopped process must still be told so."""
        if node.name in self._deferred and node.alive():
            return
        if self._clocks.get(node.name) == _RIGHT:
            del self._clocks[node.name]
        if self._disks.get(node.name) == {}:
            del self._disks[node.name]

    async def _post_clock(self, node: LocalNode, clock: Clock) -> dict[str, Any]:
        made: list[Exchange] = []
        while not enough(made):
            began_ns = time.time_ns()
            answer = await self._post(node, "/chaos/clock", msgspec.to_builtins(clock))
            if "wall_ns" in answer:
                made.append((began_ns, answer["wall_ns"], time.time_ns()))
            if not made or clock.rate != 1.0:  # told again, a clock would begin to drift anew
                break
        # What its clock shows, rather than what it was told.
        read_ns = ahead_ns(made) if made else answer.get("offset_ns")
        return {"offset_ns": read_ns, "rate": answer.get("rate"), "by": "chaos"}

    async def _fake(self, node: LocalNode, clock: Clock) -> dict[str, Any]:
        library = self._env.fake_clocks
        if library is None:
            raise SetupError(
                f"the clock of {node.name} cannot be moved: its processes were not started under "
                "libfaketime (install the package libfaketime, and pass --env-option clock=on)"
            )
        await self._stop_drift(node.name)
        faketime.write_offset(node.offset_file, clock.offset_ns)
        if clock.rate != 1.0:
            self._drifts[node.name] = asyncio.create_task(self._drift(node.offset_file, clock))
        probe = await asyncio.to_thread(self._probe, library, node.offset_file)
        mapped = {pid: library.name in _maps(pid) for pid in node.pids()}
        unreached = [pid for pid, has_it in mapped.items() if not has_it]
        if unreached:
            raise SetupError(
                f"process {unreached[0]} of {node.name} did not load libfaketime (a static or "
                "set-user-id program?), so its clock cannot be moved"
            )
        return {"offset_ns": probe, "rate": clock.rate, "by": "libfaketime", "loaded": len(mapped)}

    def _probe(self, library: Path, offset_file: Path) -> int:
        from harness.environments.processes import mark

        probe = faketime.Probe(library, offset_file, mark(self._env.run_id, "(probe)", {}))
        try:
            return probe.read_ns()[0]
        finally:
            probe.close()

    @staticmethod
    async def _drift(offset_file: Path, clock: Clock) -> None:
        began_ns = time.monotonic_ns()
        while True:
            await asyncio.sleep(_DRIFT_STEP_S)
            gained_ns = int((clock.rate - 1.0) * (time.monotonic_ns() - began_ns))
            faketime.write_offset(offset_file, clock.offset_ns + gained_ns)

    async def _stop_drift(self, name: str) -> None:
        task = self._drifts.pop(name, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # -- disks ---------------------------------------------------------------------------------

    async def set_disk(self, node: LocalNode, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the node to make its disk so, or the file system below a foreign database."""
        if node.disk is not None:
            return await self._set_below(node, node.disk, dict(faults))
        if node.chaos_port is None:
            return await asyncio.to_thread(self._set_volume, node, dict(faults))
        if not faults and node.name not in self._disks:
            return await self._post(node, "/chaos/disk", {}) if node.answers else {}
        if faults.get("flip") and (why := self._why_no_flip(node)):
            return {"skipped": True, "why": why}
        # A flipped bit is an event: a node that starts again must not lose another.
        self._disks[node.name] = {name: what for name, what in faults.items() if name != "flip"}
        if node.answers:
            evidence = await self._set_disk_now(node, faults)
        else:
            evidence = {"deferred": True}
            self._deferred.add(node.name)
        self._forget_right(node)
        return evidence

    async def _set_below(
        self, node: LocalNode, disk: disks.Disk, faults: dict[str, Any]
    ) -> dict[str, Any]:
        """Have faults of a disk that is ours, below a database that is not."""
        if not faults and node.name not in self._disks:
            return await disk.set(None) if await disk.serves() else {}
        flip = faults.pop("flip", False)
        if flip and (why := self.why_no_spare(node)):
            return {"skipped": True, "why": why}
        self._disks[node.name] = faults
        if not await disk.serves():
            # Its place went with the database; both come back together.
            self._forget_right(node)
            return {"deferred": True}
        found = await disk.set(faults)
        if flip:
            found = await self._flip_below(node, disk, faults)
        self._forget_right(node)
        return found

    async def _flip_below(
        self, node: LocalNode, disk: disks.Disk, faults: dict[str, Any]
    ) -> dict[str, Any]:
        already = node.name in self._damaged
        self.note_damage(node)
        before = await disk.set(None)
        found = await disk.set({**faults, "flip": True})
        if len(found.get("flipped", [])) > len(before.get("flipped", [])):
            return {**found, "flipped_now": True}
        if not already:
            self._damaged.remove(node.name)
        why = "there is no file to be damaged"
        return {**found, "flipped_now": False, "skipped": True, "why": why}

    async def restore_disk(self, node: LocalNode) -> None:
        """Give a disk that was mounted anew the faults its node has."""
        if node.disk is not None and self._disks.get(node.name):
            await node.disk.set(self._disks[node.name])

    def _set_volume(self, node: LocalNode, faults: dict[str, Any]) -> dict[str, Any]:
        volume = node.volume
        if volume is None or set(faults) - {"full"}:
            if not faults and node.name not in self._disks:
                return {}
            lacking, here = disks.missing(), volume is not None
            raise SetupError(volumes.why_not(node.name, faults, lacking=lacking, volume=here))
        if faults:
            self._disks[node.name] = faults
            return volume.fill()
        evidence = volume.free()
        self._disks.pop(node.name, None)
        return evidence

    async def _set_disk_now(self, node: LocalNode, faults: Mapping[str, Any]) -> dict[str, Any]:
        if not faults.get("flip"):
            return await self._post(node, "/chaos/disk", dict(faults))
        already = node.name in self._damaged
        self.note_damage(node)
        before = await self._post(node, "/chaos/disk", self._disks[node.name])
        after = await self._post(node, "/chaos/disk", dict(faults))
        flipped = len(after.get("flipped", [])) > len(before.get("flipped", []))
        if not flipped:
            if not already:
                self._damaged.remove(node.name)
            why = "no file is long enough to be damaged safely"
            return {**after, "flipped_now": False, "skipped": True, "why": why}
        return {**after, "flipped_now": True}

    def _why_no_flip(self, node: LocalNode) -> str:
        if not node.answers:
            return f"{node.name} is stopped, and only it can damage its disk where it is safe"
        return self.why_no_spare(node)

    def why_no_spare(self, node: LocalNode) -> str:
        """The fault atlas: a majority of disks stays undamaged for as long as the run lasts."""
        spare = (len(self._env.nodes) - 1) // 2
        if node.name in self._damaged or len(self._damaged) < spare:
            return ""
        return f"the disks of {', '.join(self._damaged)} are damaged: no other may be"

    def note_damage(self, node: LocalNode) -> None:
        """Note the damage before it is done: it may be done and the answer lost."""
        if node.name not in self._damaged:
            self._damaged.append(node.name)

    def forget_damage(self, name: str) -> None:
        """The node was repaired."""
        if name in self._damaged:
            self._damaged.remove(name)

    def damaged(self) -> list[str]:
        """Nodes whose durable data a fault damaged: they may refuse to start."""
        return list(self._damaged)

    # -- all -----------------------------------------------------------------------------------

    async def restore(self, node: LocalNode) -> None:
        """Give a process that runs again the clock and disk its node has."""
        self._deferred.discard(node.name)
        if node.chaos_port is None:
            return
        clock, disk = self._clocks.get(node.name), self._disks.get(node.name)
        if clock is None and disk is None:
            return
        await node.http_ok(node.chaos_port, "/health", within_s=_RESTORE_WITHIN_S)
        if clock is not None:
            await self._post_clock(node, clock)
        if disk is not None:
            await self._post(node, "/chaos/disk", disk)
        self._forget_right(node)

    async def resumed(self, node: LocalNode) -> None:
        """Tell a process that runs again what was set while it was stopped."""
        if node.name in self._deferred and node.answers:
            await self.restore(node)

    async def heal_all(self) -> None:
        """Set every clock and disk right that can be reached; a dead process has no faults."""
        for name in list(self._clocks):
            await self._heal_one(name, self._clocks, self._env.set_clock(name))
        for name in list(self._disks):
            await self._heal_one(name, self._disks, self._env.set_disk(name, {}))

    async def _heal_one(self, name: str, faulty: dict[str, Any], healing: Any) -> None:
        try:
            await healing
        except (OSError, TimeoutError, HttpStatus, SetupError):
            # Kept as left over, unless the process, and so its fault, is gone.
            if not self._env.node(name).alive():
                faulty.pop(name, None)

    def left(self) -> list[str]:
        """Which clocks and disks are still faulty."""
        clocks = [f"the clock of {name} is {clock}" for name, clock in self._clocks.items()]
        return clocks + [f"the disk of {name} is {disk}" for name, disk in self._disks.items()]

    @staticmethod
    async def _post(node: LocalNode, path: str, value: Any) -> dict[str, Any]:
        assert node.chaos_port is not None
        client = await node.http(node.chaos_port, timeout_s=5.0)
        client.token = node.chaos_token
        try:
            answer = await client.post(path, value)
        finally:
            await client.close()
        return answer if isinstance(answer, dict) else {}


def _maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""
