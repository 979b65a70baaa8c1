"""Wrong clocks: the wanted state of each node's clock, and how it is set.

A node with our chaos endpoint is asked to change its own clock, and answers with what is now so.
Any other process runs under libfaketime: see :mod:`harness.environments.clock.fake`.

A clock fault belongs to the machine, not to the process. A node that is killed and started again
comes back with it. A node that is stopped or dead when the fault is set gets it when it runs again
(``deferred`` in the evidence).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from harness.environments import chaos
from harness.environments.clock.reading import Exchange, ahead_ns, enough
from harness.environments.http import HttpStatus
from harness.environments.machines.machine import Command, Machine
from harness.environments.node_processes import NodeProcesses
from harness.errors import SetupError


class Clock(msgspec.Struct, frozen=True):
    """How wrong a node's clock is."""

    offset_ns: int = 0
    rate: float = 1.0


RIGHT = Clock()


class FakeClocks(Protocol):
    """Clocks of programs that know nothing of it: libfaketime here or on another machine."""

    async def start(self, machines: Sequence[Machine]) -> None:
        """Find the library and make the files which clocks follow; SetupError if it is broken."""
        ...

    def variables(self, machine: Machine, command: Command) -> Mapping[str, str]:
        """The environment variables of a program; empty without the library.

        Raises:
            SetupError: the program's clock could not be moved.
        """
        ...

    async def move(self, node: NodeProcesses, clock: Clock) -> dict[str, Any]:
        """Move the clock which a node's programs see, and read it back.

        Raises:
            SetupError: its programs were not started under the library.
        """
        ...


class ClockFaults:
    """The clocks of all nodes of a run.

    Args:
        fake: moves the clocks of foreign programs.
        option: ``on``, ``off`` or ``auto``: whether foreign programs start under it.
    """

    def __init__(self, fake: FakeClocks, option: Any) -> None:
        self.fake = fake
        self.possible = option not in ("off", False)
        self._automatic = option == "auto"
        self._wanted = option in ("on", True)
        self._wrong: dict[str, tuple[NodeProcesses, Clock]] = {}
        self._deferred: set[str] = set()

    def needed(self) -> None:
        """A nemesis of the run moves clocks."""
        self._wanted = self._wanted or self._automatic

    async def start(self, machines: Sequence[Machine]) -> None:
        """Prepare foreign programs' clocks, if the run may move them."""
        if self._wanted:
            await self.fake.start(machines)

    async def set(self, node: NodeProcesses, clock: Clock) -> dict[str, Any]:
        """Set a clock and read it back; ``offset_ns`` in the evidence is what was read."""
        await node.refresh()
        if clock == RIGHT and node.name not in self._wrong:
            return {"offset_ns": 0, "rate": 1.0}
        self._wrong[node.name] = (node, clock)
        if node.chaos_port is None:
            evidence = await self.fake.move(node, clock)
        elif node.answers:
            evidence = await _tell(node, clock)
        else:
            evidence = {"offset_ns": None, "rate": None, "by": "chaos", "deferred": True}
            self._deferred.add(node.name)
        self._forget_right(node)
        return evidence

    def _forget_right(self, node: NodeProcesses) -> None:
        """Drop what is right, unless a stopped process must still be set right."""
        if node.name in self._deferred and node.alive:
            return
        _, clock = self._wrong.get(node.name, (node, None))
        if clock == RIGHT:
            del self._wrong[node.name]

    async def restore(self, node: NodeProcesses) -> None:
        """Give a process that runs again the clock its node has."""
        self._deferred.discard(node.name)
        if node.chaos_port is None or node.name not in self._wrong:
            return
        await chaos.serves_again(node)
        await _tell(node, self._wrong[node.name][1])
        self._forget_right(node)

    async def resumed(self, node: NodeProcesses) -> None:
        """Tell a process that runs again what was set while it was stopped."""
        if node.name in self._deferred and node.answers:
            await self.restore(node)

    async def heal_all(self) -> None:
        """Set every clock right that can be reached; a dead process has none."""
        for name, (node, _) in list(self._wrong.items()):
            try:
                await self.set(node, RIGHT)
            except (OSError, TimeoutError, HttpStatus, SetupError):
                # Kept as left over, unless the process, and so its fault, is gone.
                if not node.alive:
                    self._wrong.pop(name, None)

    def left(self) -> list[str]:
        """Which clocks are still wrong."""
        return [f"the clock of {name} is {clock}" for name, (_, clock) in self._wrong.items()]


async def _tell(node: NodeProcesses, clock: Clock) -> dict[str, Any]:
    """Have a node of ours change its clock, and measure what it shows."""
    made: list[Exchange] = []
    while not enough(made):
        began_ns = time.time_ns()
        answer = await chaos.post(node, "/chaos/clock", msgspec.to_builtins(clock))
        if "wall_ns" in answer:
            made.append((began_ns, answer["wall_ns"], time.time_ns()))
        if not made or clock.rate != 1.0:  # set again, a clock would begin to drift anew
            break
    # What its clock shows, rather than what it was set to.
    read_ns = ahead_ns(made) if made else answer.get("offset_ns")
    return {"offset_ns": read_ns, "rate": answer.get("rate"), "by": "chaos"}
