"""A node's processes in a container, started by detached execs of Docker's API.

Kill is ``docker kill``: every process of the container ends, in the kernel, with what it had not
synced. A pause is ``docker pause``, the cgroup freezer; Docker reports the container paused, which
is the evidence (shown as state ``T``, as of any stopped process). Commands cannot be run in a
paused container.

For the environment `docker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import posixpath
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments.base import Completed
from harness.environments.journal import Journal
from harness.environments.machines import shell
from harness.environments.machines.docker_daemon import (
    API_TIMEOUT_S,
    Daemon,
    bring_home,
    said_by_docker,
)
from harness.environments.machines.machine import Command, Status
from harness.errors import SetupError

#: where the node's own things are, in its container
HOME = "/splitbrain"
LOG = f"{HOME}/log"


class ContainerMachine:
    """A container and the network container it lives in.

    Args:
        journal: the run's, for its mark and directory.
        daemon: Docker's.
        name: the node's name.
        index: its number, from 1.
        address: its address.
        container: the container's name.
        python: the interpreter in its image that has the reference cluster.
    """

    watch_s = 0.1
    look_every_s = 0.5

    def __init__(
        self,
        journal: Journal,
        daemon: Daemon,
        name: str,
        index: int,
        address: str,
        *,
        container: str,
        python: str,
    ) -> None:
        self.name, self.index, self.address = name, index, address
        self.directory = journal.run_dir / "nodes" / name
        self.files = ContainerFiles(self, daemon)
        self.container = container
        self.network_container = f"{container}-net"
        self.home = HOME
        self._run_id = journal.run_id
        self._daemon = daemon
        self._python = python
        self._execs: dict[int, str] = {}

    # -- words ---------------------------------------------------------------------------------

    def path(self, text: str) -> str:
        """Paths are the container's own."""
        return text

    def word(self, text: str) -> str:
        """A word of a command line, with the image's interpreter for this one's."""
        return shell.word(text, self._python)

    def variables(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        """The program's variables, with the run's mark."""
        return shell.variables(self._run_id, self.name, self.address, extra)

    def check_port(self, port: int) -> None:
        """Nothing else is in the node's network."""

    # -- commands ------------------------------------------------------------------------------

    async def execute(
        self, words: Sequence[str], *, variables: Mapping[str, str], timeout_s: float
    ) -> Completed:
        """Run a command in the container; one that takes too long is killed there."""
        mark = f"{HOME}/run-{time.time_ns():x}"
        # The shell becomes the command, so the pid it wrote down is the command's.
        argv = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', mark, *words]
        task = asyncio.create_task(asyncio.to_thread(self._exec, argv, variables))
        try:
            async with asyncio.timeout(timeout_s):
                done = await asyncio.shield(task)
        except TimeoutError as error:
            end = ["sh", "-c", 'kill -9 "$(cat "$0")"; rm -f "$0"', mark]
            await asyncio.to_thread(self._daemon.exec, self.container, end)
            await asyncio.wait([task], timeout=5)
            raise SetupError(
                f"{words[0]!r} on {self.name} did not end within {timeout_s:g} s"
            ) from error
        completed = Completed(tuple(words), done.exit_code, done.stdout, done.stderr)
        return shell.checked(completed, self)

    def _exec(self, words: Sequence[str], env: Mapping[str, str]) -> Completed:
        """A node whose database was killed is still a node: its container is started if need be."""
        try:
            return self._daemon.exec(self.container, words, env)
        except SetupError as error:
            if "is not running" not in str(error):
                raise
        self._start_container()
        return self._daemon.exec(self.container, words, env)

    # -- processes -----------------------------------------------------------------------------

    async def launch(self, index: int, command: Command, variables: Mapping[str, str]) -> int:
        """Start a process by a detached exec."""
        script = f'exec "$@" >>{LOG} 2>&1 </dev/null'
        words = ["sh", "-c", script, "sh", *command.argv]

        def start() -> str:
            api = self._daemon.api
            with said_by_docker(f"starting {command.argv[0]!r} on {self.name}"):
                made: str = api.exec_create(self.container, words, environment=dict(variables))[
                    "Id"
                ]
                api.exec_start(made, detach=True)
            return made

        self._execs[index] = await asyncio.to_thread(start)
        return 0

    async def look(self) -> Status:
        """Ask the daemon; it answers for paused containers too."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> Status:
        import docker.errors

        api = self._daemon.api
        with said_by_docker(f"looking at {self.name}"):
            try:
                state = api.inspect_container(self.container)["State"]
            except docker.errors.NotFound:
                return Status()
            running = set()
            for index, made in self._execs.items():
                with contextlib.suppress(docker.errors.NotFound):
                    if state["Running"] and api.exec_inspect(made)["Running"]:
                        running.add(index)
        return Status(frozenset(running), bool(state["Paused"]))

    async def pids(self) -> list[int]:
        """Pids of the database's processes, as the host sees them."""
        return await asyncio.to_thread(self._pids)

    def _pids(self) -> list[int]:
        import docker.errors

        found = []
        for made in self._execs.values():
            with contextlib.suppress(docker.errors.NotFound):
                with said_by_docker(f"looking at {self.name}"):
                    entry = self._daemon.api.exec_inspect(made)
                if entry["Running"]:
                    found.append(int(entry["Pid"]))
        return found

    def first_pid(self) -> int:
        """The container's first process, as the daemon's machine sees it; 0 if it does not run."""
        with said_by_docker(f"looking at {self.name}"):
            return int(self._daemon.api.inspect_container(self.container)["State"]["Pid"])

    async def power_on(self) -> None:
        """Start the container, if it was killed."""
        await asyncio.to_thread(self._start_container)

    def _start_container(self) -> None:
        api = self._daemon.api
        with said_by_docker(f"starting the container of {self.name}"):
            if not api.inspect_container(self.container)["State"]["Running"]:
                api.start(self.container)

    async def kill(self) -> list[int]:
        """``docker kill``, and wait for the end."""
        return await asyncio.to_thread(self._kill)

    def _kill(self) -> list[int]:
        api = self._daemon.api
        with said_by_docker(f"killing {self.name}"):
            state = api.inspect_container(self.container)["State"]
            pids = self._pids() if state["Running"] else []
            if state["Running"]:
                api.kill(self.container)
                api.wait(self.container, timeout=API_TIMEOUT_S)
        self._execs.clear()
        return pids

    async def terminate(self) -> None:
        """SIGTERM to every process of the node."""
        await shell.terminate(self, self._run_id)

    async def freeze(self, on: bool) -> dict[str, Any]:
        """``docker pause`` or ``unpause``, and what Docker reports afterwards."""
        return await asyncio.to_thread(self._freeze, on)

    def _freeze(self, on: bool) -> dict[str, Any]:
        api = self._daemon.api
        with said_by_docker(f"{'pausing' if on else 'unpausing'} {self.name}"):
            state = api.inspect_container(self.container)["State"]
            if state["Running"] and state["Paused"] != on:
                (api.pause if on else api.unpause)(self.container)
            state = api.inspect_container(self.container)["State"]
        letter = "T" if state["Paused"] else "S" if state["Running"] else "gone"
        return {"state": letter, "docker": state["Status"], "pids": self._pids()}

    async def resume_all(self) -> None:
        """Unpause the container, if it is paused."""
        if (await self.look()).stopped:
            await self.freeze(False)

    async def remains(self, *, up: bool) -> list[str]:
        """Whether it is paused; a container that runs is named by the site."""
        return [f"{self.name} is stopped"] if up and (await self.look()).stopped else []


class ContainerFiles:
    """The files of a node in a container.

    Args:
        machine: the node's.
        daemon: Docker's.
    """

    def __init__(self, machine: ContainerMachine, daemon: Daemon) -> None:
        self._machine, self._daemon = machine, daemon
        self.kept = False

    async def last_words(self) -> str:
        """The last lines of the node's log."""
        return await shell.last_words(self._machine, LOG)

    async def wipe(self, path: str) -> None:
        """Remove a tree of ``/data``."""
        if not self.kept:
            await shell.wipe(self._machine, path, "/data")

    async def upload(self, source: Path, target: str) -> None:
        """Copy a file of this machine into the container."""
        content = await asyncio.to_thread(source.read_bytes)
        info = tarfile.TarInfo(posixpath.basename(target))
        info.size, info.mode = len(content), source.stat().st_mode & 0o777
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(info, io.BytesIO(content))

        def put() -> None:
            with said_by_docker(f"copying {source.name} to {self._machine.name}"):
                folder = posixpath.dirname(target)
                self._daemon.api.put_archive(self._machine.container, folder, packed.getvalue())

        await asyncio.to_thread(put)

    async def bring(self, pattern: str) -> list[str]:
        """Copy files, or a directory, out of the container, even if it was killed."""
        names = [pattern]
        if any(letter in pattern for letter in "*?["):
            names = (await shell.run_script(self._machine, f"ls -1d {pattern}")).splitlines()
        brought: list[str] = []
        for name in names:
            take = (self._daemon, self._machine.container, name, self._machine.directory)
            brought += await asyncio.to_thread(bring_home, *take)
        return brought

    async def bring_log(self) -> None:
        """Copy the node's log home."""
        await self.bring(LOG)

    async def keep_data(self) -> None:
        """Copy the data home, once."""
        if not self.kept:
            await self.bring("/data")
            self.kept = True
