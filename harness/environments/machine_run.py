"""One run of machines: made, used, healed, and always removed.

Everything is written down before it is made, by the journal. Teardown does each step however far
setup came, looks again at the end, and names what is still there.

For :mod:`harness.environments.composed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import msgspec

from harness.environments.clock.faults import ClockFaults
from harness.environments.disk.faults import DiskFaults
from harness.environments.journal import Journal
from harness.environments.machines.machine import Command, Machine, Site
from harness.environments.network.network import Network
from harness.environments.node import MachineNode
from harness.environments.node_processes import NodeProcesses
from harness.environments.pressure.pressure import Pressure
from harness.errors import EnvironmentLeft, HarnessError, Unreachable, nearest


class Parts(msgspec.Struct):
    """The parts of an environment; see the module's text.

    Args:
        journal, site, network, clocks, disks, pressure: the parts.
        watchdog: whether a process cleans up after the harness's death.
        keep_data: whether the nodes' data stays.
        lacks: ability -> why this machine lacks it.
        limits: ability -> what to know before using it.
    """

    journal: Journal
    site: Site
    network: Network
    clocks: ClockFaults
    disks: DiskFaults
    pressure: Pressure
    watchdog: bool
    keep_data: bool
    lacks: dict[str, str]
    limits: dict[str, str]


class Launcher:
    """The preparations around the start of a process; see the parts for each."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def before(self, node: NodeProcesses, command: Command) -> Mapping[str, str]:
        """Listeners, a disk that can fail, a clock that can be moved; further variables."""
        await self._parts.network.ready()
        if command.chaos_port is not None:
            return {}
        await self._parts.disks.provide(node)
        return self._parts.clocks.fake.variables(node.machine, command)

    async def after(self, node: NodeProcesses, pid: int) -> None:
        """The journal has it, and the proxy knows whose it is."""
        if pid:
            self._parts.journal.started("node", node.name, pid)
            await self._parts.network.started(node.name, pid)


class MachineRun:
    """The machines of one run.

    Args:
        parts: what the environment is composed of.
        now_ns: the run's clock.
    """

    def __init__(self, parts: Parts, now_ns: Callable[[], int]) -> None:
        self.parts, self.journal = parts, parts.journal
        self._now_ns = now_ns
        #: by name; empty before setup
        self.handles: dict[str, MachineNode] = {}

    def node(self, name: str) -> MachineNode:
        """The handle of one node."""
        if name not in self.handles:
            if name in self.journal.nodes:
                raise HarnessError(f"node {name!r} is asked for before setup()")
            raise nearest("node", name, self.journal.nodes)
        return self.handles[name]

    def processes(self, name: str) -> NodeProcesses:
        """The processes of one node's database."""
        return self.node(name).processes

    async def setup(self) -> None:
        """Start the watchdog, make the machines and the network, prepare clocks."""
        parts = self.parts
        self.journal.node_directories()
        self.journal.save()
        try:
            if parts.watchdog:
                await self.journal.start_watchdog()
            machines = await parts.site.make()
            self.handles = self._made(machines)
            await parts.network.start(machines)
            await parts.clocks.start(machines)
        except BaseException:  # an interrupt too: what was made is removed first
            with _left_is_said():
                await self.teardown()
            raise

    def _made(self, machines: Sequence[Machine]) -> dict[str, MachineNode]:
        launcher, network = Launcher(self.parts), self.parts.network
        by_name = {machine.name: machine for machine in machines}
        return {
            name: MachineNode(NodeProcesses(machine, launcher), network, by_name, self._now_ns)
            for name, machine in by_name.items()
        }

    async def teardown(self) -> None:
        """Heal, bring logs home, end and remove everything, dismiss the watchdog.

        Raises:
            EnvironmentLeft: something is still there.
        """
        with _said():
            await self.heal_all()
            await self._logs_home()
        unseen: list[str] = []
        left = [*await self._end(unseen), *await self._tried(self.prove_clean(), unseen)]
        await self.journal.finish([*left, *unseen])
        if left or unseen:
            raise EnvironmentLeft(self._left_behind(left, unseen))

    def _left_behind(self, left: Sequence[str], unseen: Sequence[str]) -> str:
        """The sentence of what is left and of what could not be seen, each said once."""
        parts = []
        if left:
            parts.append(f"after the run there is still: {'; '.join(dict.fromkeys(left))}")
        if unseen:
            why = "; ".join(dict.fromkeys(unseen))
            parts.append(f"what the run left could not be removed or seen: {why}")
        again = f"`harness heal {self.journal.run_dir}` tries again"
        return "; ".join([*parts, again])

    async def _end(self, unseen: list[str]) -> list[str]:
        """End and remove everything; each step is tried, even if one before it failed."""
        parts = self.parts
        steps = (
            parts.site.end(),
            parts.network.stop(),
            parts.disks.remove(),
            self.journal.stop_strays(),
            asyncio.to_thread(parts.pressure.remove),
            parts.site.remove(),
        )
        return [trouble for step in steps for trouble in await self._tried(step, unseen)]

    @staticmethod
    async def _tried(step: Awaitable[list[str] | None], unseen: list[str]) -> list[str]:
        """What a step found left; why it failed is added to ``unseen``."""
        try:
            return await step or []
        except HarnessError as error:
            unseen.append(str(error))
            return []

    async def leave_running(self) -> None:
        """Instead of :meth:`teardown`: heal, and leave the nodes as they are.

        `harness heal` ends them.
        """
        await self.heal_all()
        await self._logs_home()
        await self.parts.network.stay()
        await self.journal.left_running()

    async def _logs_home(self) -> None:
        if self.parts.network.up:
            await asyncio.gather(*(self._log_home(each) for each in self.handles.values()))

    async def _log_home(self, node: MachineNode) -> None:
        try:
            await node.bring_home(keep_data=self.parts.keep_data)
        except (HarnessError, OSError) as error:
            print(f"the log of {node.name} did not come home: {error}", file=sys.stderr)

    async def bring_home(self, patterns: Sequence[str]) -> list[str]:
        """Copy files of every node that match into ``nodes/<n>/``; and, with the option
        ``keep_data``, see that what ``/data`` holds now is there at the end.

        Returns:
            what could not be copied, a sentence each.
        """
        troubles = []
        for name, node in self.handles.items():
            try:
                await node.collect(patterns)
                if self.parts.keep_data:
                    await node.machine.files.keep_data()
            except (HarnessError, OSError, ValueError) as error:
                troubles.append(f"files of {name} did not come home: {error}")
        return troubles

    async def heal_all(self) -> None:
        """Heal links, resume what is stopped, set clocks and disks right. Idempotent."""
        parts = self.parts
        if not parts.network.up:
            return
        with _said():
            await parts.network.heal()
        for node in self.handles.values():
            await node.processes.resume()
        await parts.clocks.heal_all()
        await parts.disks.heal_all()
        await parts.pressure.heal_all()

    async def prove_clean(self) -> list[str]:
        """The faults still active; after :meth:`teardown`, the leftovers."""
        parts, up = self.parts, self.parts.network.up
        left = []
        for node in self.handles.values():
            left += await node.machine.remains(up=up)
        if not up:
            return left + await parts.site.left()
        left += parts.clocks.left() + parts.disks.left() + parts.pressure.left()
        return left + await parts.network.faulty()


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Say on standard error what part of healing failed, and go on: the rest must be healed.

    What no longer answers is said once, by the next step that needs it.
    """
    try:
        yield
    except Unreachable:
        pass
    except HarnessError as error:
        print(error, file=sys.stderr)


@contextlib.contextmanager
def _left_is_said() -> Iterator[None]:
    """The same for what is left over: the error that is on its way matters more."""
    try:
        yield
    except EnvironmentLeft as left:
        print(left, file=sys.stderr)
