"""Two Protocols: the machine runs one node's processes, the site makes the machines of a run.

The problem: a node is a process of this machine, of a network namespace, of a container or of a
host, and everything above it (faults, healing, databases) should not know which. The solution: a
*machine* has the few verbs in which those differ: execute, launch, look, kill, freeze, copy. A
*site* makes the machines of one run and removes them again. Networks, clocks, disks and pressure
are chosen beside the machine, not by it: see :mod:`harness.environments.composed`.

Machines are :class:`harness.environments.machines.local.LocalMachine` (with or without a
namespace), :class:`harness.environments.machines.container.ContainerMachine` and
:class:`harness.environments.machines.host.HostMachine`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from harness.environments.base import Completed
from harness.environments.disk.disks import Disk


class Command(msgspec.Struct, frozen=True):
    """A process of the node's database, as it is started, and started again after a kill."""

    argv: tuple[str, ...]
    variables: dict[str, str]
    ports: tuple[int, ...]
    chaos_port: int | None


class Status(msgspec.Struct, frozen=True):
    """The state of a machine.

    Args:
        running: numbers of the commands whose processes run.
        stopped: whether they are stopped by a signal or a freezer.
        ended: how those ended that do not run, where the machine can tell.
    """

    running: frozenset[int] = frozenset()
    stopped: bool = False
    ended: Mapping[int, str] = {}


class Files(Protocol):
    """The files of one node, wherever they are."""

    #: whether its data is to stay as it is now
    kept: bool

    async def last_words(self) -> str:
        """The last lines of the node's log, indented."""
        ...

    async def wipe(self, path: str) -> None:
        """Remove a tree of the node's ``/data``; UsageError for anything outside it."""
        ...

    async def upload(self, source: Path, target: str) -> None:
        """Copy a file of this machine to a path of the node."""
        ...

    async def bring(self, pattern: str) -> list[str]:
        """Copy files of the node that match into its directory of the run; their names."""
        ...

    async def bring_log(self) -> None:
        """Copy the node's log home, if it is elsewhere."""
        ...

    async def keep_data(self) -> None:
        """Copy the data home, if it is elsewhere; from now on no ``wipe`` removes anything."""
        ...


class Machine(Protocol):
    """Where the processes of one node run."""

    name: str
    #: its number in the run, from 1
    index: int
    #: where clients and peers reach the node
    address: str
    #: the node's directory in the run's
    directory: Path
    #: the directory of the node's own things on the machine
    home: str
    #: how long a new process is watched for ending at once
    watch_s: float
    #: the least time between two looks at it: asking another kernel is slow
    look_every_s: float

    @property
    def files(self) -> Files:
        """Its files."""
        ...

    def path(self, text: str) -> str:
        """A path as the node sees it, as a path of the machine."""
        ...

    def word(self, text: str) -> str:
        """A word of a command line, with the paths and the interpreter of the machine."""
        ...

    def variables(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        """The environment variables of a program of the node, with the run's mark."""
        ...

    def check_port(self, port: int) -> None:
        """SetupError if another program has the port."""
        ...

    async def execute(
        self, words: Sequence[str], *, variables: Mapping[str, str], timeout_s: float
    ) -> Completed:
        """Run a command to its end; SetupError if it cannot be run or takes too long."""
        ...

    async def launch(self, index: int, command: Command, variables: Mapping[str, str]) -> int:
        """Start a process of the database, its output to the node's log.

        Returns:
            its pid if it is a process of this machine's kernel, else 0.
        """
        ...

    async def look(self) -> Status:
        """The processes that run now."""
        ...

    async def pids(self) -> list[int]:
        """Pids of the database's first processes, as the machine counts them."""
        ...

    async def power_on(self) -> None:
        """Make the machine able to start processes again after a kill."""
        ...

    async def kill(self) -> list[int]:
        """SIGKILL everything of the node; the pids of the database's first processes."""
        ...

    async def terminate(self) -> None:
        """Ask every process of the node to end (SIGTERM), stopped ones included."""
        ...

    async def freeze(self, on: bool) -> dict[str, Any]:
        """Stop every process of the node or let it go on; the evidence, with ``state``."""
        ...

    async def resume_all(self) -> None:
        """Let every stopped process of the node go on."""
        ...

    async def remains(self, *, up: bool) -> list[str]:
        """Stopped processes and, when the run is not up any more, running ones; a phrase each."""
        ...


class Site(Protocol):
    """Makes and removes the machines of one run."""

    def refuse(self, needs: Collection[str]) -> str:
        """Look at what the machines need, before anything is made.

        Args:
            needs: the abilities that the run's nemeses need.

        Returns:
            why links cannot have faults other than cuts here; empty if they can.

        Raises:
            SetupError: the run cannot be made here; with what to install.
        """
        ...

    async def make(self) -> Sequence[Machine]:
        """Make the machines, in the order of the nodes; what is made is recorded first."""
        ...

    def disk(self, machine: Machine) -> Disk:
        """A disk that can be made faulty below the machine's ``/data``; not mounted yet."""
        ...

    async def end(self) -> None:
        """End every process of every node. Idempotent."""
        ...

    async def remove(self) -> None:
        """Remove what :meth:`make` made, once no process of the run is left. Idempotent."""
        ...

    async def left(self) -> list[str]:
        """The leftovers of :meth:`make` and of the processes, one phrase each."""
        ...
