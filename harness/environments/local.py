"""Processes on loopback addresses: the default environment, with no root and nothing to install.

Each node has an address of its own in 127.0.0.0/8, so ports are the same numbers everywhere, and a
directory in the run's. Links between nodes run through the proxy process
(:mod:`harness.environments.network.proxy`), which cuts, slows and loses per directed link. Kill and
pause are signals, read back from ``/proc``. Clocks are faked by libfaketime, or by the node itself
where it has our chaos endpoint, which is also the only way to faults of its disk.

Everything started is recorded (``environment.json``) and marked, and a watchdog process outlives
the harness to clean up after it: see :mod:`harness.watchdog` and :mod:`harness.heal`.

Options (``--env-option name=value``): ``clock`` (``auto``, ``on``, ``off``: whether processes
start under libfaketime; ``auto`` does so if a nemesis of the run needs clocks), ``watchdog``
(default on), ``keep_data`` (default off: data directories are removed after the run),
``disk`` (``auto``, ``on``, ``off``: whether foreign databases' data is on a file system in user
space which can be made faulty; ``auto`` if a nemesis of the run needs disks; needs root),
``volume_mb`` (default 0: none; else every node's data is on a file system of that size, which can
be full without any file system in user space; needs root).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments import marks, record
from harness.environments.clock.fake import LocalFakeClocks
from harness.environments.clock.faults import ClockFaults
from harness.environments.composed import MachineEnvironment
from harness.environments.disk import disks, volumes
from harness.environments.disk.faults import DiskFaults
from harness.environments.journal import Journal, checked_options
from harness.environments.machine_run import Parts
from harness.environments.machines.local import LocalMachine
from harness.environments.machines.machine import Machine, Site
from harness.environments.network import addresses
from harness.environments.network.network import Network
from harness.environments.network.proxy_network import ProxyNetwork
from harness.environments.pressure import cgroups
from harness.environments.pressure.local import LocalPressure
from harness.environments.processes import ProcessId
from harness.errors import SetupError, UsageError

OPTIONS: dict[str, Any] = {
    "clock": "auto",
    "watchdog": True,
    "keep_data": False,
    "disk": "auto",
    "volume_mb": 0,
}
_STOPS_WITHIN_S = 3.0
_BY_PROXY = (
    "duplicate and reorder work on messages of the reference cluster; TCP hides them from others"
)


def local(
    *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any] | None = None
) -> MachineEnvironment:
    """The local environment: see the module's text for the options."""
    given = checked_options("local", OPTIONS, options)
    addresses.check_node_count(len(nodes))
    journal = Journal("local", nodes, run_dir)
    site = LocalSite(journal, given, seed=seed, claim=_loopback)
    network = ProxyNetwork(journal, seed=seed)
    limits = known_limits(packets=_BY_PROXY, disk=disks.missing())
    return MachineEnvironment(site.parts(given, network, lacks={}, limits=limits))


def known_limits(*, packets: str, disk: str) -> dict[str, str]:
    """Preconditions of the abilities; ``disk``: missing parts for other databases' disks."""
    of_disk = {"disk": f"on the reference cluster only: {disk}"} if disk else {}
    return {"packets": packets, **of_disk}


def _loopback(journal: Journal) -> str:
    """Three bytes of loopback addresses which no other run has."""
    if not sys.platform.startswith("linux"):
        raise SetupError("the environment local needs Linux; try --env sim or --env docker")
    block, journal.claim = addresses.claim(str(journal.run_dir))
    return block


def _on_the_host(name: str) -> tuple[str, ...]:
    """No words: a node's programs run in the host's network."""
    return ()


class LocalSite:
    """Nodes as processes of this machine, each with a directory and perhaps a volume.

    Args:
        journal: the run's.
        options: the environment's, checked.
        seed: the run's.
        claim: finds addresses which no other run has; three bytes of them.
        within: per node, the words in front of each of its programs.
    """

    def __init__(
        self,
        journal: Journal,
        options: Mapping[str, Any],
        *,
        seed: int,
        claim: Callable[[Journal], str],
        within: Callable[[str], tuple[str, ...]] = _on_the_host,
    ) -> None:
        self.journal = journal
        self.machines: dict[str, LocalMachine] = {}
        self.volumes: dict[str, volumes.Volume] = {}
        self.block = ""
        self.volume_mb = volumes.check_size(options["volume_mb"])
        if self.volume_mb and (lacking := volumes.missing()):
            raise UsageError(f"option volume_mb is {self.volume_mb}, but {lacking}")
        self._keep_data = bool(options["keep_data"])
        self._seed, self._claim, self._within = seed, claim, within

    def parts(
        self,
        options: Mapping[str, Any],
        network: Network,
        *,
        lacks: dict[str, str],
        limits: dict[str, str],
        site: Site | None = None,
    ) -> Parts:
        """The parts of an environment of processes of this machine.

        Args:
            options: the environment's, checked.
            network: its network.
            lacks, limits: see :class:`harness.environments.machine_run.Parts`.
            site: what makes more than these machines, itself if nothing does.
        """
        pressure = LocalPressure(self.journal, self.processes_of)
        if pressure.why_not:
            lacks = {**lacks, "pressure": f"control groups: {pressure.why_not}"}
        of = self.volumes if self.volume_mb else None
        return Parts(
            journal=self.journal,
            site=site or self,
            network=network,
            clocks=ClockFaults(LocalFakeClocks(self.journal), options["clock"]),
            disks=DiskFaults(len(self.journal.nodes), self.disk, options["disk"], of),
            pressure=pressure,
            watchdog=bool(options["watchdog"]),
            keep_data=self._keep_data,
            lacks=lacks,
            limits=limits,
        )

    def refuse(self, needs: Collection[str]) -> str:
        """Missing abilities are reported before setup."""
        return ""

    async def make(self) -> Sequence[Machine]:
        """Claim addresses, make directories and volumes."""
        journal = self.journal
        self.block = block = self._claim(journal)
        for index, name in enumerate(journal.nodes, start=1):
            address = addresses.node_address(block, index)
            machine = LocalMachine(journal, name, index, address, within=self._within(name))
            machine.data.mkdir(parents=True, exist_ok=True)
            place = {"address": address, "directory": str(machine.directory)}
            self.machines[name], journal.record.nodes[name] = machine, place
        journal.record.detail |= {"block": block, "keep_data": self._keep_data}
        journal.save()
        if self.volume_mb:
            for machine in self.machines.values():
                await self._give_volume(machine)
        return list(self.machines.values())

    async def _give_volume(self, machine: LocalMachine) -> None:
        volume = volumes.Volume(machine.directory, size_mb=self.volume_mb, log=machine.log)
        self.journal.write_down("mounts", [str(volume.mount_point)])
        await asyncio.to_thread(volume.make)
        self.volumes[machine.name], machine.data = volume, volume.data

    def processes_of(self, node: str) -> list[ProcessId]:
        """Every running process of a node."""
        return self.machines[node].everything()

    def disk(self, machine: Machine) -> disks.Disk:
        """A file system in user space over the node's data directory."""
        data = self.machines[machine.name].data
        self.journal.write_down("mounts", [str(data)])
        seed = self._seed * 100 + machine.index
        return disks.LocalDisk(data, **disks.server_words(self.journal, machine.name, seed=seed))

    async def end(self) -> None:
        """SIGTERM to every node's processes, then SIGKILL for what stays."""
        await asyncio.gather(*(self._end(machine) for machine in self.machines.values()))

    @staticmethod
    async def _end(machine: LocalMachine) -> None:
        await machine.terminate()
        deadline = time.monotonic() + _STOPS_WITHIN_S
        while machine.children() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await machine.kill()

    async def remove(self) -> None:
        """Remove fake clocks, data and volumes."""
        await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        for path in self.journal.record.files:
            Path(path).unlink(missing_ok=True)
        self.journal.record.files = []
        if not self._keep_data:
            for machine in self.machines.values():
                shutil.rmtree(machine.data, ignore_errors=True)
        volumes.remove(self.journal.record.detail)

    async def left(self) -> list[str]:
        """Mounts, control groups and data directories that should be gone."""
        left = kernel_things_left(self.journal.record.detail)
        if self._keep_data:
            return left
        places = (each.data for each in self.machines.values() if not each.files.kept)
        return left + [f"directory {path}" for path in places if path.exists()]


def kernel_things_left(detail: Mapping[str, Any]) -> list[str]:
    """Mounts and control groups of a run that are still there."""
    mounts = [f"mount {path}" for path in detail.get("mounts", []) if volumes.mounted(path)]
    groups = [f"control group {name}" for name in detail.get("cgroups", []) if os.path.isdir(name)]
    return mounts + groups


def heal(found: record.Record, run_dir: Path, consent: record.Consent) -> record.Healed:
    """Remove a run's mounts, control groups and data, its processes having ended."""
    mounts, groups = (marks.texts(found.detail.get(name)) for name in ("mounts", "cgroups"))
    ours = {
        "mounts": [path for path in mounts if volumes.is_ours(path, run_dir)],
        "cgroups": [name for name in groups if cgroups.is_ours(name, found.run_id)],
    }
    others = {"mounts": set(mounts).difference(ours["mounts"])}
    others["cgroups"] = set(groups).difference(ours["cgroups"])
    healed = record.Healed(refused=[*map(marks.refusal, kernel_things_left(others))])
    for remove in (volumes.remove, cgroups.remove):
        healed += record.Healed(*remove(ours))
    if not found.detail.get("keep_data"):
        healed += volumes.remove_data(run_dir, filter(marks.is_node, found.nodes))
    return healed
