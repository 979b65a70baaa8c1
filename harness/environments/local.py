"""Processes on loopback addresses: the default environment, with no root and nothing to install.

Each node has an address of its own in 127.0.0.0/8, so ports are the same numbers everywhere, and a
directory in the run's. Links between nodes run through the proxy process
(:mod:`harness.environments.proxy`), which cuts, slows and loses per directed link. Kill and pause
are signals, read back from ``/proc``. Clocks are faked by libfaketime, or by the node itself where
it has our chaos endpoint, which is also the only way to faults of its disk.

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
import signal
import socket
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments import (
    addresses,
    cgroups,
    disks,
    faketime,
    marks,
    processes,
    record,
    sockets,
    volumes,
)
from harness.environments.base import LinkFault
from harness.environments.damaged_files import DamageAtRest
from harness.environments.local_chaos import LocalChaos
from harness.environments.local_node import LocalNode
from harness.environments.local_pressure import LocalPressure
from harness.environments.proxy_client import ProxyProcess
from harness.environments.remote_pressure import RemotePressure
from harness.errors import EnvironmentLeft, HarnessError, SetupError, UsageError, nearest

_OPTIONS = {
    "clock": "auto",
    "watchdog": True,
    "keep_data": False,
    "disk": "auto",
    "volume_mb": 0,
}


def local(
    *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any] | None = None
) -> LocalEnvironment:
    """The local environment: see the module's text for the options."""
    given = dict(options or {})
    for name in given:
        if name not in _OPTIONS:
            raise nearest("option of the environment local", name, _OPTIONS)
    return LocalEnvironment(nodes=nodes, run_dir=run_dir, seed=seed, options={**_OPTIONS, **given})


def limits(*, packets: str, disk: str) -> dict[str, str]:
    """What to know before using abilities; ``disk`` is what other databases' disks lack."""
    of_disk = {"disk": f"on the reference cluster only: {disk}"} if disk else {}
    return {"packets": packets, **of_disk}


_BY_PROXY = (
    "duplicate and reorder work on messages of the reference cluster; TCP hides them from others"
)


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


class LocalEnvironment:
    """Nodes as processes of this machine. Made by :func:`local`."""

    name = "local"

    def __init__(
        self, *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any]
    ) -> None:
        addresses.check_node_count(len(nodes))
        if options["clock"] not in ("auto", "on", "off", True, False):
            raise UsageError(f"option clock must be auto, on or off, not {options['clock']!r}")
        self.nodes: Sequence[str] = tuple(nodes)
        self.run_dir = Path(run_dir).resolve()
        self.run_id = marks.new(self.run_dir)
        #: the shared object under which foreign processes start, if their clocks may be faked
        self.fake_clocks: Path | None = None
        self._options, self._seed = options, seed
        self._clock_wanted = options["clock"] in ("on", True)
        disks.check_option(options["disk"])
        self._disk_wanted = options["disk"] in ("on", True)
        self._claim: socket.socket | None = None
        self._proxy: ProxyProcess | None = None
        self._watchdog: asyncio.subprocess.Process | None = None
        self._record = record.new(self.name, self.run_id, processes.identify(os.getpid()))
        self._handles: dict[str, LocalNode] = {}
        self._listeners: dict[tuple[str, int], dict[str, Any]] = {}
        self._mirror = False
        self._started_ns = time.monotonic_ns()
        self._chaos = LocalChaos(self)
        self.files: DamageAtRest | None = DamageAtRest(self._chaos, self.node)
        self._pressure: LocalPressure | RemotePressure = LocalPressure(self)
        self._volume_mb = self._wanted_volumes(options)
        abilities = {"links", "packets", "kill", "pause", "disk", "membership"}
        if options["clock"] not in ("off", False):
            abilities.add("clock")
        #: ability -> why this machine lacks it
        self.lacks: dict[str, str] = {}
        #: ability -> what to know before using it
        self.limits: dict[str, str] = limits(packets=_BY_PROXY, disk=disks.missing())
        if self.processes_are_here and not self._pressure.why_not:
            abilities.add("pressure")
        elif self.processes_are_here:
            self.lacks["pressure"] = f"control groups: {self._pressure.why_not}"
        self.abilities = frozenset(abilities)

    @property
    def processes_are_here(self) -> bool:
        """Whether the nodes' processes are this kernel's, and this process may govern them."""
        return self.name in ("local", "netns")

    @staticmethod
    def _wanted_volumes(options: Mapping[str, Any]) -> int:
        size_mb = volumes.check_size(options.get("volume_mb", 0))
        if size_mb and (lacking := volumes.missing()):
            raise UsageError(f"option volume_mb is {size_mb}, but {lacking}")
        return size_mb

    # -- beginning and end ---------------------------------------------------------------------

    def prepare(self, needs: Collection[str]) -> None:
        """Tell which abilities the run's nemeses need, before :meth:`setup`."""
        if "clock" in needs and self._options["clock"] == "auto":
            self._clock_wanted = True
        if "disk" in needs and self._options["disk"] == "auto":
            self._disk_wanted = True

    async def setup(self) -> None:
        """Claim addresses, make directories, start watchdog and proxy."""
        if not sys.platform.startswith("linux"):
            raise SetupError("the environment local needs Linux; try --env sim or --env docker")
        (self.run_dir / "nodes").mkdir(parents=True, exist_ok=True)
        block, self._claim = addresses.claim(str(self.run_dir))
        for index, name in enumerate(self.nodes, start=1):
            handle = self._handles[name] = LocalNode(self, name, index, block)
            handle.data.mkdir(parents=True, exist_ok=True)
            place = {"address": handle.address, "directory": str(handle.directory)}
            self._record.nodes[name] = place
        self._record.detail |= {"block": block, "keep_data": bool(self._options["keep_data"])}
        self._record.save(self.run_dir)
        try:
            if self._options["watchdog"]:
                await self._start_watchdog()
            await self._make_volumes()
            self._prepare_clocks()
            await self._start_proxy()
        except BaseException:
            await self.teardown()
            raise
        self._started_ns = time.monotonic_ns()

    def _prepare_clocks(self) -> None:
        if not self._clock_wanted:
            return
        found = faketime.library()
        if found is None:
            # Our own nodes need no libfaketime; a foreign one is refused when a fault is injected.
            return
        trouble = faketime.self_test(found, self.run_dir)
        if trouble:
            raise SetupError(f"clock faults do not work on this machine: {trouble}")
        self.fake_clocks = found
        for handle in self._handles.values():
            faketime.write_offset(handle.offset_file, 0)
            self._record.files.append(str(handle.offset_file))
        self._record.save(self.run_dir)

    def write_down(self, what: str, names: Collection[str]) -> None:
        """Note in ``environment.json`` what is about to be made, for whoever cleans up after us."""
        known = self._record.detail.setdefault(what, [])
        known += [name for name in names if name not in known]
        self._record.save(self.run_dir)

    async def _make_volumes(self) -> None:
        """Give every node a disk of its own, if that was asked for."""
        for handle in self._handles.values() if self._volume_mb else ():
            volume = volumes.Volume(handle.directory, size_mb=self._volume_mb, log=handle.log)
            self.write_down("mounts", [str(volume.mount_point)])
            await asyncio.to_thread(volume.make)
            handle.volume, handle.data = volume, volume.data

    async def bring_home(self, patterns: Sequence[str]) -> list[str]:
        """Copy files of every node that match into ``nodes/<n>/``; and, with the option
        ``keep_data``, see that what ``/data`` holds now is there at the end.

        Returns:
            what could not be copied, a sentence each.
        """
        troubles = []
        for name, handle in self._handles.items():
            try:
                await handle.collect(patterns)
                if self._options["keep_data"]:
                    await handle.keep_data()
            except (HarnessError, OSError, ValueError) as error:
                troubles.append(f"files of {name} did not come home: {error}")
        return troubles

    async def give_disk(self, node: LocalNode) -> None:
        """Have a foreign database's files on a disk that can be made faulty, before it starts.

        Raises:
            SetupError: that was asked for by the option ``disk``, and cannot be had.
        """
        if not self._disk_wanted or self._volume_mb:
            return
        if disks.missing() and self._options["disk"] == "auto":
            # Said when a fault is injected: the run may need none of this node's disk.
            return
        if node.disk is None:
            node.disk = self._new_disk(node)
        if not await node.disk.serves():
            await node.disk.start()
            await self._chaos.restore_disk(node)

    def _new_disk(self, node: LocalNode) -> disks.Disk:
        self.write_down("mounts", [str(node.data)])
        return disks.LocalDisk(node.data, **self._disk_words(node))

    def _disk_words(self, node: LocalNode) -> dict[str, Any]:
        return {
            "name": f"{self.run_id}/{node.name}",
            "log": self.run_dir / "nodes" / node.name / "disk.log",
            "variables": self._own_env(f"disk of {node.name}"),
            "seed": self._seed * 100 + node.index,
            "here": node.name,
        }

    async def _remove_disks(self) -> None:
        """Unmount what :meth:`give_disk` mounted, once the databases have ended."""
        for handle in self._handles.values():
            if handle.disk is not None:
                await handle.disk.stop()
                handle.disk = None

    def _own_env(self, role: str) -> dict[str, str]:
        return {**self.python_path(), **processes.mark(self.run_id, f"({role})", {})}

    async def _start_proxy(self) -> None:
        self._proxy = await ProxyProcess.start(
            seed=self._seed,
            log=self.run_dir / "proxy.log",
            env=self._own_env("proxy"),
            cwd=self.run_dir,
        )
        await self.started("proxy", "", self._proxy.pid)
        await self._proxy.ask("counters")

    async def _start_watchdog(self) -> None:
        from harness.watchdog import start

        self._watchdog = await start(self.run_dir, env=self._own_env("watchdog"))
        await self.started("watchdog", "", self._watchdog.pid)

    @staticmethod
    def python_path() -> dict[str, str]:
        """Lets children import what we import, installed or not."""
        root = str(Path(__file__).resolve().parents[2])
        inherited = os.environ.get("PYTHONPATH", "")
        return {"PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root}

    async def started(self, role: str, node: str, pid: int) -> None:
        """Write down a process that was just started; tell the proxy whose it is."""
        process = processes.identify(pid)
        if process is not None:
            self._record.processes = [
                each for each in self._record.processes if processes.running(each.process)
            ]
            self._record.processes.append(record.StartedProcess(role, node, process))
            self._record.save(self.run_dir)
        if role == "node" and self._proxy is not None:
            await self._proxy.ask("node", node=node, session=pid)

    async def teardown(self) -> None:
        """Heal, stop everything, remove what is temporary, dismiss the watchdog."""
        await self.heal_all()
        for handle in self._handles.values():
            handle.note_deaths()
        await asyncio.gather(*(handle.stop() for handle in self._handles.values()))
        if self._proxy is not None:
            await self._proxy.stop()
            self._proxy = None
        await self._remove_disks()
        self._remove_files()
        strays = [p for p in processes.of_run(self.run_id) if p.pid != self._watchdog_pid]
        await asyncio.to_thread(processes.stop_all, strays)
        await asyncio.to_thread(self._remove_kernel_things)
        await self._finish(await self.prove_clean())

    async def _finish(self, left: list[str]) -> None:
        """Write down how the run was left, dismiss the watchdog, and name what is still there."""
        self._record.state = "left" if left else "clean"
        self._record.processes = []
        if self.run_dir.is_dir():
            self._record.save(self.run_dir)
        await self._dismiss_watchdog()
        if self._claim is not None:
            self._claim.close()
            self._claim = None
        if left:
            raise EnvironmentLeft(f"after the run there is still: {'; '.join(left)}")

    async def leave_running(self) -> None:
        """Instead of :meth:`teardown`: heal, and leave nodes and proxy to whoever wants to look.

        `harness heal` ends them.
        """
        await self.heal_all()
        if self._proxy is not None:
            await self._proxy.ask("stay")
        self._record.state = "left running"
        self._record.save(self.run_dir)
        await self._dismiss_watchdog()

    @property
    def _watchdog_pid(self) -> int:
        return 0 if self._watchdog is None else self._watchdog.pid

    async def _dismiss_watchdog(self) -> None:
        if self._watchdog is not None:
            from harness.watchdog import dismiss

            await dismiss(self._watchdog)
            self._watchdog = None

    def _remove_kernel_things(self) -> None:
        """Remove mounts and control groups, once nothing of the run uses them."""
        self._pressure.remove()
        volumes.remove(self._record.detail)

    def _remove_files(self) -> None:
        import shutil

        for handle in self._handles.values():
            handle.offset_file.unlink(missing_ok=True)
            if not self._options["keep_data"]:
                shutil.rmtree(handle.data, ignore_errors=True)
        self._record.files = []

    # -- nodes, time ---------------------------------------------------------------------------

    def node(self, name: str) -> LocalNode:
        """The handle of one node."""
        if name not in self._handles:
            if name in self.nodes:
                raise HarnessError(f"node {name!r} is asked for before setup()")
            raise nearest("node", name, self.nodes)
        return self._handles[name]

    def now_ns(self) -> int:
        """Nanoseconds since setup ended."""
        return time.monotonic_ns() - self._started_ns

    async def sleep(self, duration_ns: int) -> None:
        """Wait."""
        await asyncio.sleep(duration_ns / 1e9)

    def deaths(self) -> dict[str, list[str]]:
        """Per node, how processes of its database ended without being asked to."""
        for handle in self._handles.values():
            handle.note_deaths()
        return {name: list(each.deaths) for name, each in self._handles.items() if each.deaths}

    # -- links ---------------------------------------------------------------------------------

    def want_listener(
        self, source: str, target: str, at: tuple[str, int], to: tuple[str, int], frames: bool
    ) -> None:
        """Have the proxy listen there, at the latest before the next command is run."""
        known = self._listeners.get(at)
        if known is None:
            fields = {"source": source, "target": target, "at": at, "to": to, "frames": frames}
            self._listeners[at] = {**fields, "open": False}
        elif known["frames"] != frames:
            raise UsageError(f"port {at[1]} of {target} is asked for as both frames and bytes")

    def mirror_ports(self) -> None:
        """Have the proxy listen wherever nodes do."""
        self._mirror = True

    async def open_listeners(self) -> None:
        """Make the proxy listen at every address handed out so far."""
        if self._proxy is None:
            raise HarnessError("nodes cannot run anything before setup() or after teardown()")
        if self._mirror:
            block = self._record.detail["block"]
            await self._proxy.ask("mirror", block=block, nodes=list(self.nodes))
        # Others may ask for listeners while we wait; theirs are opened by their own call.
        for at, fields in list(self._listeners.items()):
            if fields["open"]:
                continue
            fields["open"] = True
            try:
                await self._proxy.ask("listen", **fields)
            except OSError as error:
                fields["open"] = False
                owner = sockets.port_owner(*at)
                who = f", in use by {processes.describe(owner)}" if owner else ""
                raise SetupError(
                    f"the proxy cannot listen on {at[0]}:{at[1]} for {fields['target']}"
                    f"{who}: {error.strerror}"
                ) from error

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Make the network so: see :class:`harness.environments.base.Links`."""
        for source, target in faults:
            for end in (source, target):
                if end not in self.nodes:
                    raise nearest("node", end, self.nodes)
        if self._proxy is not None:
            await self._proxy.set_links(faults)

    async def link_counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Counters per directed link since the run began."""
        return {} if self._proxy is None else await self._proxy.counters()

    # -- processes -----------------------------------------------------------------------------

    async def kill(self, node: str) -> dict[str, Any]:
        """SIGKILL the node's processes."""
        return await self.node(node).kill()

    async def start(self, node: str) -> dict[str, Any]:
        """Start the node's database again; its clock and disk are as they were."""
        evidence = await self.node(node).start_again()
        await self._pressure.restore(self.node(node))
        await self._chaos.restore(self.node(node))
        return evidence

    async def alive(self, node: str) -> bool:
        """Whether the node's database runs."""
        return self.node(node).alive()

    async def pause(self, node: str) -> dict[str, Any]:
        """SIGSTOP the node's processes."""
        return await self.node(node).signal_state(signal.SIGSTOP, "T")

    async def resume(self, node: str) -> dict[str, Any]:
        """SIGCONT the node's processes."""
        evidence = await self.node(node).signal_state(signal.SIGCONT, "")
        await self._chaos.resumed(self.node(node))
        return evidence

    async def set_clock(
        self, node: str, *, offset_ns: int = 0, rate: float = 1.0
    ) -> dict[str, Any]:
        """Move the node's wall clock."""
        return await self._chaos.set_clock(self.node(node), offset_ns=offset_ns, rate=rate)

    async def set_disk(self, node: str, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Make the node's disk so, through its chaos endpoint or the file system below it."""
        return await self._chaos.set_disk(self.node(node), faults)

    async def set_pressure(self, node: str, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Leave the node so much processor time and memory, by control groups."""
        return await self._pressure.set(self.node(node), limits)

    def damaged(self) -> list[str]:
        """Nodes whose durable data a fault damaged: they may refuse to start."""
        return self._chaos.damaged()

    # -- healing -------------------------------------------------------------------------------

    async def heal_all(self) -> None:
        """Heal links, resume what is stopped, set clocks and disks right. Idempotent."""
        try:
            await self._heal_links()
        except SetupError as error:
            print(error, file=sys.stderr)
        for handle in self._handles.values():
            await handle.signal_state(signal.SIGCONT, "")
        await self._chaos.heal_all()
        await self._pressure.heal_all()

    async def _heal_links(self) -> None:
        if self._proxy is not None:
            await self._proxy.set_links({})

    @property
    def _up(self) -> bool:
        """Whether nodes may run: between setup and teardown."""
        return self._proxy is not None

    async def prove_clean(self) -> list[str]:
        """What is still faulty; after :meth:`teardown`, also what still runs."""
        left = []
        for name, handle in self._handles.items():
            for process in handle.everything():
                found = processes.stat(process.pid)
                if found is not None and found.state == "T":
                    left.append(f"{processes.describe(process.pid)} of {name} is stopped")
                elif not self._up:
                    left.append(f"{processes.describe(process.pid)} of {name} runs")
        left += self._chaos.left() + self._pressure.left()
        if not self._up:
            left += kernel_things_left(self._record.detail)
            left += [f"file {path}" for path in self._record.files if Path(path).exists()]
            places = (each.data for each in self._handles.values() if not each.kept)
            left += [f"directory {path}" for path in places if not self._keeps(path)]
        return left + await self._links_left()

    def _keeps(self, data: Path) -> bool:
        """Whether a data directory that is there after the run may be; so may one that is not."""
        return bool(self._options["keep_data"]) or not data.exists()

    async def _links_left(self) -> list[str]:
        """Which links are faulty; after :meth:`teardown`, also what is left of the network."""
        if self._proxy is None:
            return []
        faults = (await self._proxy.ask("links?"))["faults"]
        return [f"the link {source} to {target} is faulty" for source, target, _ in faults]
