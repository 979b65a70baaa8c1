"""A node as database code sees it: a machine, the network it is in, and its database's processes.

See :class:`harness.environments.base.Node` for what each method promises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.environments.base import Completed
from harness.environments.http import HttpClient
from harness.environments.machines.machine import Command, Machine
from harness.environments.network.network import Network
from harness.environments.node_processes import NodeProcesses
from harness.errors import SetupError, UsageError, nearest


class MachineNode:
    """A node of a run whose nodes are machines.

    Args:
        processes: its database's processes, and the machine they run on.
        network: the links of the run.
        machines: the machines of all nodes, by name.
        now_ns: the run's clock.
    """

    def __init__(
        self,
        processes: NodeProcesses,
        network: Network,
        machines: Mapping[str, Machine],
        now_ns: Callable[[], int],
    ) -> None:
        self.processes = processes
        self.machine = processes.machine
        self.name, self.address = self.machine.name, self.machine.address
        self.nodes: Sequence[str] = tuple(machines)
        self._network, self._machines, self._now_ns = network, machines, now_ns

    def now_ns(self) -> int:
        """The run's clock."""
        return self._now_ns()

    # -- addresses -----------------------------------------------------------------------------

    @property
    def peers(self) -> Sequence[str]:
        """Addresses of the other nodes as this one must dial them, whatever the port."""
        return self._network.peers(self.machine)

    def peer_address(self, peer: str, port: int, *, framing: str = "bytes") -> str:
        """``host:port`` at which this node must dial ``peer``'s ``port``."""
        if framing not in ("bytes", "frames"):
            raise UsageError(f"framing must be 'bytes' or 'frames', not {framing!r}")
        if peer not in self.nodes:
            raise nearest("node", peer, self.nodes)
        return self._network.peer_address(self.machine, peer, port, frames=framing == "frames")

    def announced_address(self, port: int) -> str:
        """``host:port`` at which all peers dial this node's ``port``."""
        return self._network.announced_address(self.machine, port)

    def announced_by(self, peer: str, port: int) -> str:
        """The address another node announces."""
        return self._network.announced_address(self._other(peer), port)

    def client_address(self, peer: str) -> str:
        """The address at which clients reach another node."""
        return self._other(peer).address

    def _other(self, name: str) -> Machine:
        if name not in self._machines:
            raise nearest("node", name, self.nodes)
        return self._machines[name]

    # -- commands ------------------------------------------------------------------------------

    async def run(
        self,
        *argv: str,
        timeout_s: float = 30.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command to its end on the node."""
        await self._network.ready()
        words = tuple(self.machine.word(word) for word in argv)
        variables = self.machine.variables(env)
        done = await self.machine.execute(words, variables=variables, timeout_s=timeout_s)
        if check and done.exit_code != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
            said = f"exited with {done.exit_code}: {last}"
            raise SetupError(f"{' '.join(words)!r} on {self.name} {said}")
        return done

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
        words = tuple(self.machine.word(word) for word in argv)
        await self.processes.spawn(Command(words, dict(env or {}), tuple(ports), chaos_port))

    async def check_running(self) -> None:
        """SetupError with the log's last lines if a process of the database has ended."""
        await self.processes.check_running()

    async def stop(self, *, within_s: float = 3.0) -> None:
        """SIGTERM, then SIGKILL for what stays."""
        await self.processes.stop(within_s=within_s)

    # -- files and HTTP ------------------------------------------------------------------------

    async def http(self, port: int, *, timeout_s: float = 5.0) -> HttpClient:
        """An HTTP client for this node's port, dialled directly."""
        return HttpClient(self.address, port, timeout_s=timeout_s)

    async def http_ok(self, port: int, path: str, *, within_s: float) -> None:
        """Wait until a GET answers 2xx; SetupError if it never does or the process ends."""
        await self.processes.http_ok(port, path, within_s=within_s)

    def path(self, text: str) -> str:
        """A path as the node sees it, as a path of its machine."""
        return self.machine.path(text)

    async def wipe(self, path: str) -> None:
        """Remove a tree of the node's own ``/data``; an emptied ``/data`` itself stays."""
        await self.machine.files.wipe(path)

    async def upload(self, source: Path, target: str) -> None:
        """Copy a file of this machine to a path of the node."""
        await self.machine.files.upload(source, target)

    async def collect(self, patterns: Sequence[str]) -> list[str]:
        """Copy files that match into the node's directory of the run; returns their names."""
        brought: list[str] = []
        for pattern in patterns:
            brought += await self.machine.files.bring(pattern)
        return brought

    async def bring_home(self, *, keep_data: bool) -> None:
        """Copy the log home and, if the data is to be kept, the data."""
        await self.machine.files.bring_log()
        if keep_data:
            await self.machine.files.keep_data()
