"""A node's processes as processes of this machine's kernel, in the host's network or a namespace.

``/data`` in arguments and paths means the node's own directory. Processes are children of the
harness, so their ends are seen as they happen; the run's mark in their environment variables finds
their descendants. A command in front of every program (``nsenter``) puts them in a namespace.

For the environments `local` and `netns`.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments import processes
from harness.environments.base import Completed
from harness.environments.journal import Journal, python_path
from harness.environments.machines.machine import Command, Status
from harness.environments.network import sockets
from harness.environments.processes import ProcessId
from harness.errors import SetupError, UsageError

_SIGNALLED_WITHIN_S = 2.0


class LocalMachine:
    """Processes of this machine.

    Args:
        journal: the run's, for its mark and directory.
        name: the node's name.
        index: its number, from 1.
        address: its address.
        within: words in front of every program; empty for none. The program must replace the last
            of them, so that pids are the program's own.
    """

    watch_s = 0.05
    look_every_s = 0.0

    def __init__(
        self,
        journal: Journal,
        name: str,
        index: int,
        address: str,
        *,
        within: Sequence[str] = (),
    ) -> None:
        self.name, self.index, self.address = name, index, address
        self.directory = journal.run_dir / "nodes" / name
        self.home = str(self.directory)
        #: the node's ``/data``
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self.files = LocalFiles(self)
        self._run_id = journal.run_id
        self._within = tuple(within)
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    # -- words ---------------------------------------------------------------------------------

    def path(self, text: str) -> str:
        """A path as the node sees it, as a path of this machine."""
        if text == "/data" or text.startswith("/data/"):
            return str(self.data) + text[len("/data") :]
        return text

    def word(self, text: str) -> str:
        """A word of a command line; the value of an option may be a path too."""
        option, equals, value = text.partition("=")
        if equals and option.startswith("-"):
            return f"{option}={self.path(value)}"
        return self.path(text)

    def variables(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        """This process's variables with the node's, ours and the run's mark."""
        mapped = {key: self.path(value) for key, value in (extra or {}).items()}
        own = {"SPLITBRAIN_ADDRESS": self.address, **python_path()}
        return processes.mark(self._run_id, self.name, {**os.environ, **own, **mapped})

    def check_port(self, port: int) -> None:
        """SetupError if a process has the port; in a namespace only the node's own can."""
        if self._within or not sockets.port_taken(self.address, port):
            return
        owner = sockets.port_owner(self.address, port)
        who = f"by {processes.describe(owner)}" if owner else "by a process not ours to see"
        raise SetupError(
            f"port {port} of {self.name} ({self.address}) is in use {who}; "
            "stop it, or run `harness heal` if an earlier run left it"
        )

    # -- processes -----------------------------------------------------------------------------

    async def execute(
        self, words: Sequence[str], *, variables: Mapping[str, str], timeout_s: float
    ) -> Completed:
        """Run a command to its end in the node's directory."""
        process = await self._begin(words, variables)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate()
        except TimeoutError as error:
            raise SetupError(
                f"{words[0]!r} on {self.name} did not end within {timeout_s:g} s"
            ) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        code = process.returncode if process.returncode is not None else -1
        texts = (out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        return Completed(tuple(words), code, *texts)

    async def _begin(
        self, words: Sequence[str], variables: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        self._require_program(words[0], "run")
        try:
            return await asyncio.create_subprocess_exec(
                *self._within,
                *words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.directory,
                env=variables,
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(
                f"cannot run {words[0]!r} on {self.name}: {error.strerror}; is it installed?"
            ) from error

    async def launch(self, index: int, command: Command, variables: Mapping[str, str]) -> int:
        """Start a process in a session of its own."""
        program = command.argv[0]
        self._require_program(program, "start")
        with open(self.log, "ab") as log:
            try:
                child = subprocess.Popen(
                    [*self._within, *command.argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.directory,
                    env=variables,
                    start_new_session=True,
                )
            except OSError as error:
                raise SetupError(
                    f"cannot start {program!r} on {self.name}: {error.strerror}; is it installed?"
                ) from error
        self._children[index] = child
        return child.pid

    def _require_program(self, program: str, verb: str) -> None:
        """Of a program behind another one, only that other's exit code would tell."""
        if self._within and shutil.which(program) is None:
            raise SetupError(f"cannot {verb} {program!r} on {self.name}: is it installed?")

    async def look(self) -> Status:
        """Poll the children; read the states of those that run."""
        codes = {index: child.poll() for index, child in self._children.items()}
        running = frozenset(index for index, code in codes.items() if code is None)
        ended = {index: _how_it_ended(code) for index, code in codes.items() if code is not None}
        states = [processes.stat(self._children[index].pid) for index in running]
        stopped = any(found is None or found.state == "T" for found in states)
        return Status(running, stopped, ended)

    async def pids(self) -> list[int]:
        """Pids of the database's first processes that run."""
        return self.children()

    def children(self) -> list[int]:
        """The same, for callers that cannot wait."""
        return [child.pid for child in self._children.values() if child.poll() is None]

    def everything(self) -> list[ProcessId]:
        """Every running process of the node: the database's and their descendants."""
        found = processes.of_run(self._run_id, node=self.name)
        for child in self._children.values():
            found += [p for p in processes.of_session(child.pid) if p not in found]
        return found

    async def power_on(self) -> None:
        """This machine is on."""

    async def kill(self) -> list[int]:
        """SIGKILL everything of the node, and wait until it is gone."""
        pids = self.children()
        left = await asyncio.to_thread(self._kill)
        if left:
            raise SetupError(f"SIGKILL did not end {left} on {self.name}")
        return pids

    def _kill(self) -> list[int]:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        for child in self._children.values():
            child.wait(timeout=10)
        self._children.clear()
        return [process.pid for process in processes.stop_all(self.everything())]

    async def terminate(self) -> None:
        """SIGCONT and SIGTERM to everything of the node."""
        for process in self.everything():
            processes.send(process, signal.SIGCONT)
            processes.send(process, signal.SIGTERM)

    async def freeze(self, on: bool) -> dict[str, Any]:
        """SIGSTOP or SIGCONT to everything of the node; the state as read back."""
        found = self.everything()
        for process in found:
            processes.send(process, signal.SIGSTOP if on else signal.SIGCONT)
        deadline = time.monotonic() + _SIGNALLED_WITHIN_S
        while True:
            states = {p.pid: s.state for p in found if (s := processes.stat(p.pid)) is not None}
            done = all((state == "T") == on for state in states.values())
            if done or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.005)
        running = [state for state in states.values() if state not in "ZX"]
        state = "gone" if not running else "T" if "T" in running else running[0]
        return {"state": state, "pids": sorted(states)}

    async def resume_all(self) -> None:
        """SIGCONT to everything of the node."""
        await self.freeze(False)

    async def remains(self, *, up: bool) -> list[str]:
        """Stopped processes and, when the run is not up any more, running ones."""
        left = []
        for process in self.everything():
            found = processes.stat(process.pid)
            if found is not None and found.state == "T":
                left.append(f"{processes.describe(process.pid)} of {self.name} is stopped")
            elif not up:
                left.append(f"{processes.describe(process.pid)} of {self.name} runs")
        return left


class LocalFiles:
    """The files of a node of this machine.

    Args:
        machine: the node's.
    """

    def __init__(self, machine: LocalMachine) -> None:
        self._machine = machine
        self.kept = False

    async def last_words(self) -> str:
        """The last lines of the node's log."""
        return processes.tail(self._machine.log)

    async def wipe(self, path: str) -> None:
        """Remove a tree of the node's own directory; an emptied ``/data`` itself stays."""
        if self.kept:
            return
        place = Path(self._machine.path(path)).resolve()
        if not place.is_relative_to(self._machine.data.resolve()):
            raise UsageError(
                f"wipe({path!r}) is outside {self._machine.name}'s own directory; "
                "only /data and what is under it may be removed"
            )
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        if place == self._machine.data.resolve():
            self._machine.data.mkdir(parents=True, exist_ok=True)

    async def upload(self, source: Path, target: str) -> None:
        """Copy a file to a path of the node."""
        await asyncio.to_thread(shutil.copy, source, self._machine.path(target))

    async def bring(self, pattern: str) -> list[str]:
        """Copy files that match into the node's directory; their names."""
        brought: list[str] = []
        for found in sorted(glob.glob(self._machine.path(pattern))):
            target = self._free_place(Path(found))
            if target is not None:
                copy = shutil.copytree if Path(found).is_dir() else shutil.copyfile
                await asyncio.to_thread(copy, found, target)
                brought.append(target.name)
        return brought

    def _free_place(self, found: Path) -> Path | None:
        """Where a file goes; None if it is there already."""
        target = self._machine.directory / found.name
        if found.resolve() == target.resolve():
            return None
        # The harness's own log, or a file of the same name from elsewhere.
        numbered = (target.with_name(f"{n}-{found.name}") for n in itertools.count())
        return next(each for each in itertools.chain([target], numbered) if not each.exists())

    async def bring_log(self) -> None:
        """The log is home."""

    async def keep_data(self) -> None:
        """The data is home; it stays as it is now."""
        self.kept = True


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"exited with {code}"
