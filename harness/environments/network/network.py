"""The network of a run, which makes its links faulty: a Protocol with two implementations.

:class:`harness.environments.network.proxy_network.ProxyNetwork` puts a process of ours in the path
of each directed link and needs no root.
:class:`harness.environments.network.kernel_network.KernelNetwork` gives rules and queues to the
kernels of the nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.environments.base import LinkFault
from harness.environments.machines.machine import Machine
from harness.errors import HarnessError


class Network(Protocol):
    """The links between the nodes of one run."""

    @property
    def up(self) -> bool:
        """Whether nodes may run: from :meth:`start` to :meth:`stop`."""
        ...

    async def start(self, machines: Sequence[Machine]) -> None:
        """Make links of these machines ready for faults, and begin to count."""
        ...

    async def stop(self) -> None:
        """Make no faults any more. Idempotent."""
        ...

    async def stay(self) -> None:
        """Go on without the harness: the nodes are left running."""
        ...

    def peer_address(self, machine: Machine, peer: str, port: int, *, frames: bool) -> str:
        """``host:port`` at which a node must dial another one's port."""
        ...

    def peers(self, machine: Machine) -> Sequence[str]:
        """Addresses of the other nodes as this one must dial them, whatever the port."""
        ...

    def announced_address(self, machine: Machine, port: int) -> str:
        """``host:port`` at which all peers dial the node's port."""
        ...

    async def ready(self) -> None:
        """See that every address handed out so far works; HarnessError unless the run is up."""
        ...

    async def started(self, node: str, pid: int) -> None:
        """Note a process of this machine's kernel, which may dial."""
        ...

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Make the links so, and all others healthy; nothing unless the run is up."""
        ...

    async def counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Counters per directed link since the start: ``passed``, ``dropped`` and the others."""
        ...

    async def heal(self) -> None:
        """Make every link healthy, regardless of the state on record; SetupError on failure."""
        ...

    async def faulty(self) -> list[str]:
        """Which links are faulty now, one phrase each."""
        ...


def not_up() -> HarnessError:
    """The error for a node that is used outside the run."""
    return HarnessError("nodes cannot run anything before setup() or after teardown()")
