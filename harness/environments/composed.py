"""An environment whose nodes are machines: one object, composed of the chosen parts.

    site        makes the machines and removes them   processes, namespaces, containers, hosts
    network     cuts and slows links                  a proxy in the path, or the nodes' kernels
    clocks      move clocks                           the chaos endpoint, or libfaketime
    disks       make disks faulty                     the endpoint, a file system, a volume
    pressure    leaves little time or memory          control groups
    journal     what was made, and who cleans up      ``environment.json`` and the watchdog

No part knows the environment's name. :mod:`harness.environments.local`, ``netns``, ``docker`` and
``ssh`` choose the parts; the simulation (:mod:`harness.environments.sim`) has no machines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from checkers.core.verdict import Result
from harness.environments.base import LinkFault
from harness.environments.clock.faults import Clock
from harness.environments.damaged_files import DamageAtRest
from harness.environments.machine_run import MachineRun, Parts
from harness.environments.node import MachineNode
from harness.errors import UsageError, nearest
from harness.interpreter import asyncio_driver
from harness.interpreter.runtime import Runtime


class MachineEnvironment:
    """An environment of machines.

    Args:
        parts: what it is composed of.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.journal = parts.journal
        self.name = parts.journal.environment
        self.nodes: Sequence[str] = parts.journal.nodes
        self.run_dir, self.run_id = parts.journal.run_dir, parts.journal.run_id
        self.lacks, self.limits = parts.lacks, parts.limits
        found = {"links", "packets", "kill", "pause", "clock", "disk", "files"}
        found |= {"pressure", "membership"}
        #: what it can do to its nodes on this machine
        self.abilities = frozenset(found - {"clock"} if not parts.clocks.possible else found)
        self.abilities -= self.lacks.keys()
        self.run = MachineRun(parts, self.now_ns)
        self.files = DamageAtRest(parts.disks.atlas, self.nodes, self.run.node)
        self._started_ns = time.monotonic_ns()

    # -- beginning and end ---------------------------------------------------------------------

    def prepare(self, needs: Collection[str]) -> None:
        """Tell which abilities the run's nemeses need, before :meth:`setup`.

        Raises:
            SetupError: the run cannot be made here.
            UsageError: an ability turns out to be missing.
        """
        if "clock" in needs:
            self.parts.clocks.needed()
        if "disk" in needs:
            self.parts.disks.needed()
        if why := self.parts.site.refuse(needs):
            self.lacks["packets"] = why
            self.abilities -= {"packets"}
            raise UsageError(why)

    async def setup(self) -> None:
        """Start the watchdog, make the machines and the network, prepare clocks."""
        await self.run.setup()
        self._started_ns = time.monotonic_ns()

    async def teardown(self) -> None:
        """Heal, bring logs home, end and remove everything, dismiss the watchdog."""
        await self.run.teardown()

    async def leave_running(self) -> None:
        """Instead of :meth:`teardown`: heal, and leave the nodes; `harness heal` ends them."""
        await self.run.leave_running()

    async def bring_home(self, patterns: Sequence[str]) -> list[str]:
        """Copy files of every node that match into ``nodes/<n>/``; what could not be copied."""
        return await self.run.bring_home(patterns)

    # -- nodes, time ---------------------------------------------------------------------------

    def node(self, name: str) -> MachineNode:
        """The handle of one node."""
        return self.run.node(name)

    def now_ns(self) -> int:
        """Nanoseconds since setup ended."""
        return time.monotonic_ns() - self._started_ns

    async def sleep(self, duration_ns: int) -> None:
        """Wait."""
        await asyncio.sleep(duration_ns / 1e9)

    def drive(
        self,
        main: Callable[[Runtime], Coroutine[Any, Any, None]],
        *,
        interrupted: Callable[[Callable[[], object]], None],
    ) -> list[Result]:
        """Run a coroutine in real time; see :class:`harness.environments.base.Environment`."""
        asyncio_driver.drive(main, clock=self.now_ns, interrupted=interrupted)
        return []

    def deaths(self) -> dict[str, list[str]]:
        """Per node, how processes of its database ended without being asked to."""
        deaths = {name: list(each.processes.deaths) for name, each in self.run.handles.items()}
        return {name: found for name, found in deaths.items() if found}

    # -- faults --------------------------------------------------------------------------------

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Make the network so: see :class:`harness.environments.base.Links`."""
        for ends in faults:
            for end in ends:
                if end not in self.nodes:
                    raise nearest("node", end, self.nodes)
        await self.parts.network.set_links(faults)

    async def link_counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Counters per directed link since the run began."""
        return await self.parts.network.counters()

    async def kill(self, node: str) -> dict[str, Any]:
        """SIGKILL the node's processes."""
        return await self.run.processes(node).kill()

    async def start(self, node: str) -> dict[str, Any]:
        """Start the node's database again; its clock, disk and limits are as they were."""
        processes = self.run.processes(node)
        evidence = await processes.start_again()
        await self.parts.pressure.restore(node)
        await self.parts.clocks.restore(processes)
        await self.parts.disks.restore(processes)
        return evidence

    async def alive(self, node: str) -> bool:
        """Whether the node's database runs."""
        await self.run.processes(node).refresh()
        return self.run.processes(node).alive

    async def pause(self, node: str) -> dict[str, Any]:
        """Stop the node's processes."""
        return await self.run.processes(node).freeze(True)

    async def resume(self, node: str) -> dict[str, Any]:
        """Let the node's processes go on."""
        processes = self.run.processes(node)
        evidence = await processes.freeze(False)
        await self.parts.clocks.resumed(processes)
        await self.parts.disks.resumed(processes)
        return evidence

    async def set_clock(
        self, node: str, *, offset_ns: int = 0, rate: float = 1.0
    ) -> dict[str, Any]:
        """Move the node's wall clock."""
        return await self.parts.clocks.set(self.run.processes(node), Clock(offset_ns, rate))

    async def set_disk(self, node: str, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Make the node's disk so, through its chaos endpoint or the file system below it."""
        if faults.get("flip"):
            await self.files.hear_voters()
        return await self.parts.disks.set(self.run.processes(node), faults)

    async def set_pressure(self, node: str, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Leave the node so much processor time and memory, by control groups."""
        return await self.parts.pressure.set(self.node(node).name, limits)

    def damaged(self) -> list[str]:
        """Nodes whose durable data a fault damaged: they may refuse to start."""
        return self.parts.disks.damaged()

    # -- healing -------------------------------------------------------------------------------

    async def heal_all(self) -> None:
        """Heal links, resume what is stopped, set clocks and disks right. Idempotent."""
        await self.run.heal_all()

    async def prove_clean(self) -> list[str]:
        """The faults still active; after :meth:`teardown`, the leftovers."""
        return await self.run.prove_clean()
