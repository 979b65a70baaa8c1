"""What `docker` and `ssh` share: nodes whose processes are not this machine's to signal.

A local node's processes are children of the harness; a remote node's are known by what the node
answers when asked. So the difference to :mod:`harness.environments.local` is small and all here: a
node keeps what it was last told (which processes run, whether they are stopped) and asks again
before every decision, files are copied instead of opened, and the log comes home at the end.

A subclass of :class:`RemoteNode` says how: run a command, start one detached, ask for its state,
kill, freeze, copy. A subclass of :class:`RemoteEnvironment` makes and removes the places.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.environments import faketime, kernel_links, processes, remote_clock
from harness.environments.base import Completed, LinkFault
from harness.environments.clock_reading import ahead_ns
from harness.environments.http import until_ok
from harness.environments.kernel_runner import KernelLinks
from harness.environments.local import LocalEnvironment, limits
from harness.environments.local_chaos import Clock, LocalChaos
from harness.environments.local_node import Command, LocalNode
from harness.environments.remote_pressure import RemotePressure
from harness.errors import EnvironmentLeft, HarnessError, SetupError, UsageError, nearest

if TYPE_CHECKING:
    from harness.environments.processes import ProcessId

_STILLBORN_S = 0.1

#: prints thrice the time before, under and after libfaketime, then pids that should have loaded it
_FAKED = """
for i in 1 2 3; do
    date +%s%N
    LD_PRELOAD=$1 FAKETIME_TIMESTAMP_FILE=$2 FAKETIME_NO_CACHE=1 date +%s%N
    date +%s%N
done
for p in /proc/[0-9]*; do
    [ "$p" != "/proc/$$" ] || continue
    tr '\\0' '\\n' <"$p/environ" 2>/dev/null | grep -qx "FAKETIME_TIMESTAMP_FILE=$2" || continue
    grep -q libfaketime "$p/maps" 2>/dev/null || echo "${p#/proc/}"
done
"""
#: asks the processes that carry two marks in their environment to end
_TERMINATE = """
for p in $(grep -lszxF -- "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3); do
    grep -qszxF -- "$2" "/proc/$p/environ" && kill -TERM "$p" 2>/dev/null
done
:
"""


class RemoteNode(LocalNode):
    """A node somewhere else.

    Args:
        env: its environment.
        name: its name.
        index: its number, from 1.
        address: where clients and peers reach it.
    """

    #: the Python that has the reference cluster installed, there
    python = "python3"
    #: where the node's own things are, there
    home = "/splitbrain"

    def __init__(self, env: RemoteEnvironment, name: str, index: int, address: str) -> None:
        super().__init__(env, name, index, "127.0.0")
        self.address = address
        self._remote = env
        self._up: set[int] = set()
        self.stopped = False

    # -- what a subclass says ------------------------------------------------------------------

    async def execute(
        self, argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float
    ) -> Completed:
        """Run a command to its end; SetupError if it cannot be run or takes too long."""
        raise AssertionError("a subclass says how")

    async def launch(self, index: int, command: Command, env: Mapping[str, str]) -> None:
        """Start a process of the database detached, its output to the node's log."""
        raise AssertionError("a subclass says how")

    async def ask(self) -> tuple[set[int], bool]:
        """Which commands' processes run now, and whether they are stopped."""
        raise AssertionError("a subclass says how")

    async def kill_all(self) -> list[int]:
        """SIGKILL everything of the node; pids of what was running."""
        raise AssertionError("a subclass says how")

    async def freeze(self, on: bool) -> dict[str, Any]:
        """Stop every process of the node or let it go on; the evidence, with ``state``."""
        raise AssertionError("a subclass says how")

    async def remote_pids(self) -> list[int]:
        """Pids of the database's processes that run."""
        raise AssertionError("a subclass says how")

    async def upload(self, source: Path, target: str) -> None:
        """Copy a file of this machine to a path of the node."""
        raise AssertionError("a subclass says how")

    async def download(self, pattern: str, into: Path) -> list[str]:
        """Copy files of the node that match into a directory here; their names."""
        raise AssertionError("a subclass says how")

    async def last_words(self) -> str:
        """The last lines of the node's log, indented."""
        script = f"tail -n 15 {shlex.quote(self.remote_log)} 2>/dev/null"
        try:
            done = await self.execute(["sh", "-c", script], env={}, timeout_s=10)
        except HarnessError as error:
            return f"    (its log cannot be read: {error})"
        text = "\n".join(f"    {line}" for line in done.stdout.splitlines())
        return text or "    (its log is empty)"

    @property
    def remote_log(self) -> str:
        """The node's log, there."""
        return f"{self.home}/log"

    @property
    def remote_offset_file(self) -> str:
        """The file which fake clocks follow, there."""
        return f"{self.home}/faketime"

    # -- addresses -----------------------------------------------------------------------------

    @property
    def peers(self) -> Sequence[str]:
        """Addresses of the other nodes."""
        return [self._env.node(name).address for name in self.nodes if name != self.name]

    def peer_address(self, peer: str, port: int, *, framing: str = "bytes") -> str:
        """``host:port`` at which this node must dial ``peer``'s ``port``; any framing will do."""
        if framing not in ("bytes", "frames"):
            raise UsageError(f"framing must be 'bytes' or 'frames', not {framing!r}")
        if peer not in self.nodes:
            raise nearest("node", peer, self.nodes)
        return f"{self._env.node(peer).address}:{port}"

    def announced_address(self, port: int) -> str:
        """``host:port`` at which everybody dials this node's ``port``."""
        return f"{self.address}:{port}"

    # -- commands ------------------------------------------------------------------------------

    def path(self, text: str) -> str:
        """A path as the node sees it."""
        return text

    def _argument(self, text: str) -> str:
        return self.python if text == sys.executable else super()._argument(text)

    def _variables(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        mapped = {key: self.path(value) for key, value in (extra or {}).items()}
        own = {"SPLITBRAIN_ADDRESS": self.address, **mapped}
        return processes.mark(self._env.run_id, self.name, own)

    async def run(
        self,
        *argv: str,
        timeout_s: float = 30.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command to its end on the node."""
        self._remote.require_up()
        words = tuple(self._argument(word) for word in argv)
        done = await self.execute(words, env=self._variables(env), timeout_s=timeout_s)
        done = Completed(words, done.exit_code, done.stdout, done.stderr)
        if done.exit_code in (126, 127):
            said = (done.stderr.strip() or done.stdout.strip())[-200:]
            raise SetupError(f"cannot run {words[0]!r} on {self.name}: {said}; is it installed?")
        if check and done.exit_code != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
            raise SetupError(
                f"{' '.join(words)!r} on {self.name} exited with {done.exit_code}: {last}"
            )
        return done

    async def _launch(self, command: Command) -> None:
        self._remote.require_up()
        if command.chaos_port is None:
            await self._remote.give_disk(self)
        variables = self._variables(command.variables)
        library = self._remote.fake_library
        if command.chaos_port is None and library:
            variables |= faketime.variables(Path(library), Path(self.remote_offset_file))
        index = self._commands.index(command)
        await self.launch(index, command, variables)
        self._up.add(index)
        await asyncio.sleep(_STILLBORN_S)
        await self.check_running()

    # -- life and death ------------------------------------------------------------------------

    def _running(self) -> list[int]:
        return sorted(self._up)

    async def refresh(self) -> None:
        """Ask the node what runs, and remember what ended by itself."""
        before = set(self._up)
        self._up, self.stopped = await self.ask()
        for index in sorted(before - self._up):
            self.deaths.append(f"{Path(self._commands[index].argv[0]).name} ended")

    async def check_running(self) -> None:
        """SetupError with the log's last lines if a process of the database has ended."""
        expected = set(self._up)
        await self.refresh()
        for index in sorted(expected - self._up):
            raise SetupError(
                f"{Path(self._commands[index].argv[0]).name!r} on {self.name} ended at once; "
                f"its log ends:\n{await self.last_words()}"
            )

    @property
    def answers(self) -> bool:
        """Whether the database can answer a request now, as far as was last known."""
        return self.alive() and not self.stopped

    def pids(self) -> list[int]:
        """No process of a remote node is this machine's to look at."""
        return []

    def everything(self) -> list[ProcessId]:
        """No process of a remote node is this machine's to signal."""
        return []

    def note_deaths(self) -> None:
        """Deaths are noted when the node is asked."""

    async def kill(self) -> dict[str, Any]:
        """SIGKILL everything of the node."""
        pids = await self.kill_all()
        self._up, self.stopped = set(), False
        return {"pids": pids, "was_running": bool(pids)}

    async def stop(self, *, within_s: float = 3.0) -> None:
        """SIGTERM, then SIGKILL for what stays."""
        deaths = list(self.deaths)
        if self.stopped:
            await self.signal_state(signal.SIGCONT, "")
        mark = f"{processes.RUN_VARIABLE}={self._env.run_id}"
        node = f"{processes.NODE_VARIABLE}={self.name}"
        await self.execute(["sh", "-c", _TERMINATE, "sh", mark, node], env={}, timeout_s=10)
        deadline = time.monotonic() + within_s
        while self._up and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            await self.refresh()
        await self.kill()
        self.deaths = deaths

    async def start_again(self) -> dict[str, Any]:
        """Start what is not running, with its last arguments."""
        if not self.spawned:
            raise SetupError(f"the database was never started on {self.name}")
        await self.refresh()
        for index, command in enumerate(self._commands):
            if index not in self._up:
                await self._launch(command)
        return {"pids": await self.remote_pids()}

    async def signal_state(self, number: int, wanted: str) -> dict[str, Any]:
        """Stop (SIGSTOP) every process of the node or let it go on, and read its state back."""
        evidence = await self.freeze(number == signal.SIGSTOP)
        self.stopped = evidence.get("state") == "T"
        return evidence

    # -- clocks --------------------------------------------------------------------------------

    async def fake_clock(self, library: str, clock: Clock) -> dict[str, Any]:
        """Move the clock which the node's programs see, and read it back.

        Raises:
            SetupError: a process of the node did not load libfaketime.
        """
        file, drifting = self.remote_offset_file, f"{self.home}/drifting.{time.time_ns()}"
        sign, ns = ("-" if clock.offset_ns < 0 else "+"), abs(clock.offset_ns)
        text = f"{sign}{ns // 10**9}.{ns % 10**9:09d}"
        words = ["sh", "-c", remote_clock.SET, "sh", f"{self.home}/drifting.", file, text]
        await self.execute(words, env={}, timeout_s=10)
        if clock.rate != 1.0:
            gain = str(round((clock.rate - 1.0) * 1e6))
            base = str(clock.offset_ns)
            words = ["sh", "-c", remote_clock.START_DRIFT, "sh", drifting, file, base, gain]
            env = processes.mark(self._env.run_id, f"({self.name})", {})
            await self.execute([*words, remote_clock.DRIFT], env=env, timeout_s=10)
        asked = ["sh", "-c", _FAKED, "sh", library, file]
        done = await self.execute(asked, env={}, timeout_s=10)
        said = done.stdout.split()
        times, unreached = [int(word) for word in said[:9]], said[9:]
        if unreached:
            raise SetupError(
                f"process {unreached[0]} of {self.name} did not load libfaketime (a static or "
                "set-user-id program?), so its clock cannot be moved"
            )
        read_ns = ahead_ns(zip(times[::3], times[1::3], times[2::3]))
        return {"offset_ns": read_ns, "rate": clock.rate, "by": "libfaketime"}

    # -- files and HTTP ------------------------------------------------------------------------

    async def http_ok(self, port: int, path: str, *, within_s: float) -> None:
        """Wait until a GET answers 2xx; SetupError if it never does or the process ends."""

        async def look() -> None:
            if self.spawned:
                await self.check_running()

        why = await until_ok(
            self.address, port, path, within_s=within_s, look=look, look_every_s=0.5
        )
        if why:
            raise SetupError(
                f"{self.name} did not answer http://{self.address}:{port}{path} within "
                f"{within_s:g} s ({why}); its log ends:\n{await self.last_words()}"
            )

    async def wipe(self, path: str) -> None:
        """Remove a tree of the node's own ``/data``; an emptied ``/data`` itself stays."""
        import posixpath

        if self.kept:
            return
        clean = posixpath.normpath(path)
        if clean != "/data" and not clean.startswith("/data/"):
            raise UsageError(
                f"wipe({path!r}) is outside {self.name}'s own directory; "
                "only /data and what is under it may be removed"
            )
        place = shlex.quote(self.path(clean))
        script = f"rm -rf {place}"
        if clean == "/data":
            script = f"find {place} -mindepth 1 -delete"
        await self.execute(["sh", "-c", script], env={}, timeout_s=60)

    async def collect(self, patterns: Sequence[str]) -> list[str]:
        """Copy files that match into the node's directory of the run; returns their names."""
        brought = []
        for pattern in patterns:
            brought += await self.download(self.path(pattern), self.directory)
        return brought

    async def keep_data(self) -> None:
        """Copy the data home, once."""
        await self.download(self.path("/data"), self.directory)
        self.kept = True


class RemoteChaos(LocalChaos):
    """Clock and disk faults of remote nodes."""

    async def _fake(self, node: LocalNode, clock: Clock) -> dict[str, Any]:
        assert isinstance(node, RemoteNode)
        library = node._remote.fake_library
        if not library:
            raise SetupError(
                f"the clock of {node.name} cannot be moved: its processes were not started under "
                "libfaketime (install it on the node, and pass --env-option clock=on)"
            )
        return await node.fake_clock(library, clock)


class RemoteEnvironment(LocalEnvironment):
    """Nodes elsewhere; `docker` and `ssh` are made of it."""

    def __init__(
        self, *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any]
    ) -> None:
        super().__init__(nodes=nodes, run_dir=run_dir, seed=seed, options=options)
        self._chaos = RemoteChaos(self)
        self.files = None  # they are on other machines
        self._pressure = RemotePressure(self, self._squeeze)
        self.limits = limits(packets=kernel_links.BY_NETEM, disk="")
        self.abilities = self.abilities | {"pressure"}
        self.lacks.pop("pressure", None)
        self._links: KernelLinks | None = None
        self._ended = False
        #: libfaketime on the nodes, if foreign processes start under it
        self.fake_library = ""

    def remote(self, name: str) -> RemoteNode:
        """The handle of one node, with what only remote ones have."""
        handle = self.node(name)
        assert isinstance(handle, RemoteNode)
        return handle

    @property
    def _remotes(self) -> list[RemoteNode]:
        return [each for each in self._handles.values() if isinstance(each, RemoteNode)]

    def require_up(self) -> None:
        """HarnessError before setup and after teardown."""
        if self._links is None:
            raise HarnessError("nodes cannot run anything before setup() or after teardown()")

    # -- what a subclass says ------------------------------------------------------------------

    def _squeeze(self, node: str, limits: Mapping[str, Any]) -> dict[str, int]:
        """Make a node's limits so; the kernel's counters. Blocks."""
        raise AssertionError("a subclass says how")

    async def _make(self) -> None:
        """Make the nodes' places and ``self._links``."""
        raise AssertionError("a subclass says how")

    async def _unmake(self) -> None:
        """End every process and remove what :meth:`_make` made. Idempotent."""
        raise AssertionError("a subclass says how")

    async def _left(self) -> list[str]:
        """What of :meth:`_make` and of the processes is still there."""
        raise AssertionError("a subclass says how")

    # -- beginning and end ---------------------------------------------------------------------

    async def setup(self) -> None:
        """Make the nodes' places; start the watchdog first."""
        (self.run_dir / "nodes").mkdir(parents=True, exist_ok=True)
        for name in self.nodes:
            (self.run_dir / "nodes" / name).mkdir(exist_ok=True)
        self._record.save(self.run_dir)
        try:
            if self._options["watchdog"]:
                await self._start_watchdog()
            await self._make()
            assert self._links is not None
            await self._links.setup()
            if self._clock_wanted:
                await self._find_faketime()
        except BaseException:
            try:
                await self.teardown()
            except EnvironmentLeft as left:
                print(left, file=sys.stderr)
            raise
        self._started_ns = time.monotonic_ns()

    async def _find_faketime(self) -> None:
        """libfaketime's place on the nodes; without it only our own nodes' clocks can be moved."""
        script = (
            "for f in /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 "
            "/opt/*/lib/python3*/site-packages/libfaketime/vendor/libfaketime/src/libfaketime.so.1;"
            ' do [ -e "$f" ] && echo "$f"; done; :'
        )
        found: list[list[str]] = []
        for node in self._remotes:
            done = await node.execute(["sh", "-c", script], env={}, timeout_s=10)
            found.append(done.stdout.split())
            begin = f"echo +0 >{node.remote_offset_file}"
            await node.execute(["sh", "-c", begin], env={}, timeout_s=10)
        everywhere = [path for path in found[0] if all(path in paths for paths in found)]
        self.fake_library = everywhere[0] if everywhere else ""

    async def teardown(self) -> None:
        """Heal, bring logs home, end everything, dismiss the watchdog."""
        try:
            await self.heal_all()
            await asyncio.gather(*(self._bring_home(node) for node in self._remotes))
        except HarnessError as error:
            print(error, file=sys.stderr)
        self._links = None
        try:
            await self._unmake()
            await self._remove_disks()
            left = await self.prove_clean()
        except HarnessError as error:
            left = [f"what could not be looked at: {error}"]
        strays = [p for p in processes.of_run(self.run_id) if p.pid != self._watchdog_pid]
        await asyncio.to_thread(processes.stop_all, strays)
        self._ended = True
        await self._finish(left)

    async def _bring_home(self, node: RemoteNode) -> None:
        if self._links is None:
            return
        try:
            await node.download(node.remote_log, node.directory)
            if self._options.get("keep_data") and not node.kept:
                await node.keep_data()
        except (HarnessError, OSError) as error:
            print(f"the log of {node.name} did not come home: {error}", file=sys.stderr)

    async def leave_running(self) -> None:
        """Instead of :meth:`teardown`: heal, and leave nodes; `harness heal` ends them."""
        await self.heal_all()
        await asyncio.gather(*(self._bring_home(node) for node in self._remotes))
        self._record.state = "left running"
        self._record.save(self.run_dir)
        await self._dismiss_watchdog()

    # -- links ---------------------------------------------------------------------------------

    def mirror_ports(self) -> None:
        """Nothing listens between nodes here."""

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Make the network so: see :class:`harness.environments.base.Links`."""
        if self._links is not None:
            await self._links.set_links(faults)

    async def link_counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Packets per directed link since setup."""
        return {} if self._links is None else await self._links.counters()

    async def _heal_links(self) -> None:
        if self._links is not None:
            await self._links.heal()

    # -- processes -----------------------------------------------------------------------------

    async def alive(self, node: str) -> bool:
        """Whether the node's database runs."""
        await self.remote(node).refresh()
        return self.remote(node).alive()

    async def set_clock(
        self, node: str, *, offset_ns: int = 0, rate: float = 1.0
    ) -> dict[str, Any]:
        """Move the node's wall clock."""
        await self.remote(node).refresh()
        return await super().set_clock(node, offset_ns=offset_ns, rate=rate)

    async def set_disk(self, node: str, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Make the node's disk so, through its chaos endpoint or the file system below it."""
        await self.remote(node).refresh()
        return await super().set_disk(node, faults)

    # -- healing -------------------------------------------------------------------------------

    async def heal_all(self) -> None:
        """Heal links, let go on what is stopped, set clocks and disks right. Idempotent."""
        if self._links is None:
            return
        try:
            await self._heal_links()
        except SetupError as error:
            print(error, file=sys.stderr)
        for node in self._remotes:
            await node.refresh()
            if node.stopped:
                await node.signal_state(signal.SIGCONT, "")
        await self._chaos.heal_all()
        await self._pressure.heal_all()

    async def prove_clean(self) -> list[str]:
        """What is still faulty; after :meth:`teardown`, also what still runs."""
        if self._links is None:
            return await self._left()
        left = []
        for node in self._remotes:
            await node.refresh()
            if node.stopped:
                left.append(f"{node.name} is stopped")
        left += self._chaos.left() + self._pressure.left()
        return left + await self._links.faulty()
