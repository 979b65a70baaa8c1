"""One node of the local environment: a directory, an address, and the processes of its database."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from harness.environments import processes
from harness.environments.base import Completed
from harness.environments.clock import faketime
from harness.environments.http import HttpClient, until_ok
from harness.environments.network import sockets
from harness.environments.network.addresses import announced_address, link_address, node_address
from harness.environments.processes import ProcessId
from harness.errors import SetupError, UsageError, nearest

if TYPE_CHECKING:
    from harness.environments.disk.disks import Disk
    from harness.environments.disk.volumes import Volume

#: the variable in which a process of the reference cluster is given its token
TOKEN = "SPLITBRAIN_TOKEN"
#: how long a process is watched for dying at once
_STILLBORN_S = 0.05


class Command(msgspec.Struct, frozen=True):
    """A process of the node's database, as it is started, and started again after a kill."""

    argv: tuple[str, ...]
    variables: dict[str, str]
    ports: tuple[int, ...]
    chaos_port: int | None


class Home(Protocol):
    """What nodes, and what makes faults on them, must know of their environment.

    The methods are described where they are implemented, in :mod:`harness.environments.local`.
    """

    nodes: Sequence[str]
    run_dir: Path
    run_id: str
    fake_clocks: Path | None

    def node(self, name: str) -> LocalNode: ...
    def now_ns(self) -> int: ...
    def python_path(self) -> dict[str, str]: ...
    def write_down(self, what: str, names: Collection[str]) -> None: ...
    def mirror_ports(self) -> None: ...
    def want_listener(
        self, source: str, target: str, at: tuple[str, int], to: tuple[str, int], frames: bool
    ) -> None: ...
    async def open_listeners(self) -> None: ...
    async def give_disk(self, node: LocalNode) -> None: ...
    async def started(self, role: str, node: str, pid: int) -> None: ...
    async def set_clock(
        self, node: str, *, offset_ns: int = 0, rate: float = 1.0
    ) -> dict[str, Any]: ...
    async def set_disk(self, node: str, faults: Mapping[str, Any]) -> dict[str, Any]: ...


class LocalNode:
    """A node on this machine. ``/data`` in arguments and paths means its own directory."""

    def __init__(self, env: Home, name: str, index: int, block: str) -> None:
        self.name = name
        self.index = index
        self.address = node_address(block, index)
        self.nodes: Sequence[str] = env.nodes
        self.directory = env.run_dir / "nodes" / name
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self.offset_file = self.directory / "faketime"
        #: the node's own disk, if the environment gives it one
        self.volume: Volume | None = None
        #: what can make a foreign database's disk faulty, once that is mounted
        self.disk: Disk | None = None
        #: exit codes of processes that ended without being asked to
        self.deaths: list[str] = []
        #: whether its data is to stay as it is now
        self.kept = False
        self._env = env
        self._block = block
        self._commands: list[Command] = []
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def now_ns(self) -> int:
        """The run's clock."""
        return self._env.now_ns()

    # -- addresses -----------------------------------------------------------------------------

    @property
    def peers(self) -> Sequence[str]:
        """Addresses of the other nodes as this one must dial them, whatever the port."""
        self._env.mirror_ports()
        others = range(1, len(self.nodes) + 1)
        return [link_address(self._block, self.index, i) for i in others if i != self.index]

    def peer_address(self, peer: str, port: int, *, framing: str = "bytes") -> str:
        """``host:port`` at which this node must dial ``peer``'s ``port``."""
        if framing not in ("bytes", "frames"):
            raise UsageError(f"framing must be 'bytes' or 'frames', not {framing!r}")
        if peer not in self.nodes:
            raise nearest("node", peer, self.nodes)
        target = list(self.nodes).index(peer) + 1
        if target == self.index:
            return f"{self.address}:{port}"
        at = link_address(self._block, self.index, target)
        to = node_address(self._block, target)
        self._env.want_listener(self.name, peer, (at, port), (to, port), framing == "frames")
        return f"{at}:{port}"

    def announced_address(self, port: int) -> str:
        """``host:port`` at which everybody dials this node's ``port``."""
        at = announced_address(self._block, self.index)
        self._env.want_listener("", self.name, (at, port), (self.address, port), False)
        return f"{at}:{port}"

    def announced_by(self, peer: str, port: int) -> str:
        """The address another node announces."""
        return self._env.node(peer).announced_address(port)

    def client_address(self, peer: str) -> str:
        """The address at which clients reach another node."""
        return self._env.node(peer).address

    # -- commands ------------------------------------------------------------------------------

    def path(self, text: str) -> str:
        """A path as the node sees it, as a path of this machine."""
        if text == "/data" or text.startswith("/data/"):
            return str(self.data) + text[len("/data") :]
        return text

    def _argument(self, text: str) -> str:
        option, equals, value = text.partition("=")
        if equals and option.startswith("-"):
            return f"{option}={self.path(value)}"
        return self.path(text)

    def _variables(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        mapped = {key: self.path(value) for key, value in (extra or {}).items()}
        own = {"SPLITBRAIN_ADDRESS": self.address, **self._env.python_path()}
        return processes.mark(self._env.run_id, self.name, {**os.environ, **own, **mapped})

    async def run(
        self,
        *argv: str,
        timeout_s: float = 30.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command to its end in the node's directory."""
        await self._env.open_listeners()
        words = tuple(self._argument(word) for word in argv)
        process = await self._start_run(words, env)
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
        done = Completed(
            words, code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
        )
        if check and code != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
            raise SetupError(f"{' '.join(words)!r} on {self.name} exited with {code}: {last}")
        return done

    async def _start_run(
        self, words: tuple[str, ...], env: Mapping[str, str] | None
    ) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.directory,
                env=self._variables(env),
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(
                f"cannot run {words[0]!r} on {self.name}: {error.strerror}; is it installed?"
            ) from error

    async def spawn(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
        chaos_port: int | None = None,
    ) -> None:
        """Start a process of the node's database; the same arguments again restart it."""
        if not argv:
            raise UsageError(f"spawn on {self.name} needs a program to start")
        words = tuple(self._argument(word) for word in argv)
        command = Command(words, dict(env or {}), tuple(ports), chaos_port)
        if any(self._commands[i] == command for i in self._running()):
            raise UsageError(f"{words[0]!r} already runs on {self.name}; kill it before")
        new = command not in self._commands
        if new:
            self._commands.append(command)
        try:
            await self._launch(command)
        except SetupError:
            if new:
                # It never ran: a later start must not wait for it.
                self._children.pop(self._commands.index(command), None)
                self._commands.remove(command)
            raise

    async def _launch(self, command: Command) -> None:
        program = command.argv[0]
        for port in command.ports:
            self._check_port(port)
        await self._env.open_listeners()
        if command.chaos_port is None:
            await self._env.give_disk(self)
        variables = self._variables(command.variables)
        if command.chaos_port is None and self._env.fake_clocks is not None:
            reason = faketime.why_not(program)
            if reason:
                raise SetupError(f"a clock fault on {self.name} is impossible: {reason}")
            variables |= faketime.variables(self._env.fake_clocks, self.offset_file)
        child = self._popen(command, variables)
        self._children[self._commands.index(command)] = child
        await self._env.started("node", self.name, child.pid)
        await asyncio.sleep(_STILLBORN_S)
        self.check_alive()

    def _popen(self, command: Command, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        with open(self.log, "ab") as log:
            try:
                return subprocess.Popen(
                    command.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.directory,
                    env=variables,
                    start_new_session=True,
                )
            except OSError as error:
                raise SetupError(
                    f"cannot start {command.argv[0]!r} on {self.name}: {error.strerror}; "
                    "is it installed?"
                ) from error

    def _check_port(self, port: int) -> None:
        if sockets.port_taken(self.address, port):
            owner = sockets.port_owner(self.address, port)
            who = f"by {processes.describe(owner)}" if owner else "by a process not ours to see"
            raise SetupError(
                f"port {port} of {self.name} ({self.address}) is in use {who}; "
                "stop it, or run `harness heal` if an earlier run left it"
            )

    # -- life and death ------------------------------------------------------------------------

    def _running(self) -> list[int]:
        return [i for i, child in self._children.items() if child.poll() is None]

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
        """What that endpoint wants to be shown; "" if nothing."""
        variables = (c.variables for c in self._commands if c.chaos_port is not None)
        return next((v[TOKEN] for v in variables if TOKEN in v), "")

    def alive(self) -> bool:
        """Whether every process of the database runs."""
        return self.spawned and len(self._running()) == len(self._commands)

    @property
    def answers(self) -> bool:
        """Whether the database can answer a request now: it runs, and nobody stopped it."""
        states = [processes.stat(pid) for pid in self.pids()]
        return self.alive() and all(found and found.state not in "TZX" for found in states)

    def pids(self) -> list[int]:
        """Pids of the database's first processes that run now."""
        return [self._children[i].pid for i in self._running()]

    def check_alive(self) -> None:
        """SetupError with the log's last lines if a process of the database has ended."""
        for child in self._children.values():
            code = child.poll()
            if code is not None:
                raise SetupError(
                    f"{Path(str(child.args[0])).name!r} on {self.name} "  # type: ignore[index]
                    f"{_how_it_ended(code)}; its log ends:\n{processes.tail(self.log)}"
                )

    async def check_running(self) -> None:
        """As :meth:`check_alive`, for nodes that have to be asked."""
        self.check_alive()

    def note_deaths(self) -> None:
        """Remember processes that ended by themselves since the last look."""
        for index, child in list(self._children.items()):
            code = child.poll()
            if code is not None:
                self.deaths.append(
                    f"{Path(self._commands[index].argv[0]).name} {_how_it_ended(code)}"
                )
                del self._children[index]

    def everything(self) -> list[ProcessId]:
        """Every running process of the node: the database's and their descendants."""
        found = processes.of_run(self._env.run_id, node=self.name)
        for child in self._children.values():
            found += [p for p in processes.of_session(child.pid) if p not in found]
        return found

    async def kill(self) -> dict[str, Any]:
        """SIGKILL everything of the node."""
        self.note_deaths()
        pids = self.pids()
        left = await asyncio.to_thread(self._kill_now)
        if left:
            raise SetupError(f"SIGKILL did not end {left} on {self.name}")
        return {"pids": pids, "was_running": bool(pids)}

    def _kill_now(self) -> list[int]:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        for child in self._children.values():
            child.wait(timeout=10)
        self._children.clear()
        return [process.pid for process in processes.stop_all(self.everything())]

    async def start_again(self) -> dict[str, Any]:
        """Start what is not running, with its last arguments."""
        if not self.spawned:
            raise SetupError(f"the database was never started on {self.name}")
        self.note_deaths()
        for index, command in enumerate(self._commands):
            if index not in self._running():
                await self._launch(command)
        return {"pids": self.pids()}

    async def stop(self, *, within_s: float = 3.0) -> None:
        """SIGTERM, then SIGKILL for what stays."""
        self.note_deaths()
        for process in self.everything():
            processes.send(process, signal.SIGCONT)
            processes.send(process, signal.SIGTERM)
        deadline = time.monotonic() + within_s
        while self._running() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self._kill_now)

    async def signal_state(self, number: int, wanted: str) -> dict[str, Any]:
        """Send SIGSTOP or SIGCONT to every process of the node and read its state back.

        Args:
            number: the signal.
            wanted: ``T`` to wait until all are stopped, ``""`` until none is.
        """
        found = self.everything()
        for process in found:
            processes.send(process, number)
        deadline = time.monotonic() + 2.0
        while True:
            states = {p.pid: s.state for p in found if (s := processes.stat(p.pid)) is not None}
            as_wanted = all((state == "T") == (wanted == "T") for state in states.values())
            if as_wanted or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.005)
        running = [state for state in states.values() if state not in "ZX"]
        state = "gone" if not running else "T" if "T" in running else running[0]
        return {"state": state, "pids": sorted(states)}

    # -- files and HTTP ------------------------------------------------------------------------

    async def http(self, port: int, *, timeout_s: float = 5.0) -> HttpClient:
        """An HTTP client for this node's port, dialled directly."""
        return HttpClient(self.address, port, timeout_s=timeout_s)

    async def http_ok(self, port: int, path: str, *, within_s: float) -> None:
        """Wait until a GET answers 2xx; SetupError if it never does or the process ends."""
        why = await until_ok(self.address, port, path, within_s=within_s, look=self.check_running)
        if why:
            raise SetupError(
                f"{self.name} did not answer http://{self.address}:{port}{path} within "
                f"{within_s:g} s ({why}); its log ends:\n{processes.tail(self.log)}"
            )

    async def wipe(self, path: str) -> None:
        """Remove a tree of the node's own directory; an emptied ``/data`` itself stays."""
        if self.kept:
            return
        place = Path(self.path(path)).resolve()
        if not place.is_relative_to(self.data.resolve()):
            raise UsageError(
                f"wipe({path!r}) is outside {self.name}'s own directory; "
                "only /data and what is under it may be removed"
            )
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        if place == self.data.resolve():
            self.data.mkdir(parents=True, exist_ok=True)

    async def collect(self, patterns: Sequence[str]) -> list[str]:
        """Copy files that match into the node's directory of the run; returns their names."""
        brought: list[str] = []
        for pattern in patterns:
            for found in sorted(glob.glob(self.path(pattern))):
                target = self.directory / Path(found).name
                if Path(found).resolve() == target.resolve():
                    continue
                if target.exists():
                    # The harness's own log, or a file of the same name from elsewhere.
                    target = target.with_name(f"{len(brought)}-{target.name}")
                if Path(found).is_file():
                    await asyncio.to_thread(shutil.copyfile, found, target)
                elif Path(found).is_dir():
                    await asyncio.to_thread(shutil.copytree, found, target, dirs_exist_ok=True)
                brought.append(target.name)
        return brought

    async def keep_data(self) -> None:
        """From now on nobody's :meth:`wipe` removes anything: the data is already home."""
        self.kept = True


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"exited with {code}"
