"""The processes of one node's database: started, watched, killed and started again.

A machine knows what runs now; this object remembers what should run. So a process that ended by
itself is noticed, and a node that was killed starts with the arguments it had. What is known about
a node is as old as the last :meth:`NodeProcesses.refresh`: a container or a host has to be asked.

For :mod:`harness.environments.node`, and for the faults that need a node's processes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from harness.environments.http import until_ok
from harness.environments.machines.machine import Command, Machine
from harness.errors import SetupError, UsageError

#: the variable in which a process of the reference cluster is given its token
TOKEN = "SPLITBRAIN_TOKEN"


class Launches(Protocol):
    """The preparations around the start of a process."""

    async def before(self, node: NodeProcesses, command: Command) -> Mapping[str, str]:
        """Prepare links, disk and clock; further environment variables for the process."""
        ...

    async def after(self, node: NodeProcesses, pid: int) -> None:
        """Note a process of this machine's kernel."""
        ...


class NodeProcesses:
    """The processes of one node.

    Args:
        machine: where they run.
        launches: what is done around each start.
    """

    def __init__(self, machine: Machine, launches: Launches) -> None:
        self.machine = machine
        self.name = machine.name
        #: how processes ended that were not asked to
        self.deaths: list[str] = []
        #: whether they were stopped when last looked at
        self.stopped = False
        self._launches = launches
        self._commands: list[Command] = []
        self._running: set[int] = set()
        self._ended: dict[int, str] = {}

    # -- what is known -------------------------------------------------------------------------

    @property
    def spawned(self) -> bool:
        """Whether the database was ever started here."""
        return bool(self._commands)

    @property
    def chaos_port(self) -> int | None:
        """Port of the node's own chaos endpoint, if its database has one."""
        return next((c.chaos_port for c in self._commands if c.chaos_port is not None), None)

    @property
    def chaos_token(self) -> str:
        """The token of that endpoint; "" if it has none."""
        variables = (c.variables for c in self._commands if c.chaos_port is not None)
        return next((v[TOKEN] for v in variables if TOKEN in v), "")

    @property
    def alive(self) -> bool:
        """Whether every process of the database ran when last looked at."""
        return self.spawned and len(self._running) == len(self._commands)

    @property
    def answers(self) -> bool:
        """Whether the database could answer a request: it ran, and was not stopped."""
        return self.alive and not self.stopped

    async def refresh(self) -> None:
        """Look what runs, and remember what ended by itself."""
        status = await self.machine.look()
        for index in sorted(self._running - status.running):
            self._ended[index] = status.ended.get(index, "")
            how = self._ended[index] or "ended"
            self.deaths.append(f"{self._program(index)} {how}")
        self._running = set(status.running)
        self.stopped = status.stopped

    async def check_running(self) -> None:
        """SetupError with the log's last lines if a process of the database has ended."""
        await self.refresh()
        for index, how in self._ended.items():
            raise SetupError(
                f"{self._program(index)!r} on {self.name} {how or 'ended at once'}; "
                f"its log ends:\n{await self.machine.files.last_words()}"
            )

    def _program(self, index: int) -> str:
        return Path(self._commands[index].argv[0]).name

    # -- beginning -----------------------------------------------------------------------------

    async def spawn(self, command: Command) -> None:
        """Start a process; the same command again restarts it.

        Raises:
            UsageError: it runs already.
            SetupError: it does not start, or ends at once.
        """
        await self.refresh()
        if any(self._commands[i] == command for i in self._running):
            raise UsageError(f"{command.argv[0]!r} already runs on {self.name}; kill it before")
        new = command not in self._commands
        if new:
            self._commands.append(command)
        try:
            await self._launch(command)
        except SetupError:
            if new:
                self._forget(command)
            raise

    def _forget(self, command: Command) -> None:
        """A command that never ran is none that a later start has to wait for."""
        index = self._commands.index(command)
        self._commands.remove(command)
        self._running.discard(index)
        if self._ended.pop(index, None) is not None:
            self.deaths.pop()

    async def _launch(self, command: Command) -> None:
        for port in command.ports:
            self.machine.check_port(port)
        index = self._commands.index(command)
        own = await self._launches.before(self, command)
        variables = {**self.machine.variables(command.variables), **own}
        pid = await self.machine.launch(index, command, variables)
        self._running.add(index)
        self._ended.pop(index, None)
        await self._launches.after(self, pid)
        await asyncio.sleep(self.machine.watch_s)
        await self.check_running()

    async def start_again(self) -> dict[str, Any]:
        """Start what is not running, with its last arguments; the evidence."""
        if not self.spawned:
            raise SetupError(f"the database was never started on {self.name}")
        await self.machine.power_on()
        await self.refresh()
        for index, command in enumerate(self._commands):
            if index not in self._running:
                await self._launch(command)
        return {"pids": await self.machine.pids()}

    # -- ending and stopping -------------------------------------------------------------------

    async def kill(self) -> dict[str, Any]:
        """SIGKILL everything of the node; the evidence."""
        await self.refresh()
        pids = await self.machine.kill()
        self._running, self._ended, self.stopped = set(), {}, False
        return {"pids": pids, "was_running": bool(pids)}

    async def stop(self, *, within_s: float = 3.0) -> None:
        """SIGTERM, then SIGKILL for what stays."""
        await self.refresh()
        if self.stopped:
            await self.freeze(False)
        await self.machine.terminate()
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and (await self.machine.look()).running:
            await asyncio.sleep(0.02)
        await self.machine.kill()
        self._running, self._ended, self.stopped = set(), {}, False

    async def freeze(self, on: bool) -> dict[str, Any]:
        """Stop every process of the node or let it go on, and read its state back."""
        evidence = await self.machine.freeze(on)
        self.stopped = evidence.get("state") == "T"
        return evidence

    async def resume(self) -> None:
        """Let every stopped process go on."""
        await self.machine.resume_all()
        await self.refresh()

    # -- waiting -------------------------------------------------------------------------------

    async def http_ok(self, port: int, path: str, *, within_s: float) -> None:
        """Wait until a GET answers 2xx; SetupError if it never does or the process ends."""

        async def look() -> None:
            if self.spawned:
                await self.check_running()

        address = self.machine.address
        every_s = self.machine.look_every_s
        why = await until_ok(
            address, port, path, within_s=within_s, look=look, look_every_s=every_s
        )
        if why:
            raise SetupError(
                f"{self.name} did not answer http://{address}:{port}{path} within "
                f"{within_s:g} s ({why}); its log ends:\n{await self.machine.files.last_words()}"
            )
