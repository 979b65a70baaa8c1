"""Links made faulty by the kernels of the nodes, which reach each other directly.

For the environments `netns`, `docker` and `ssh`: each gives its ground, where a node's interfaces
lead and how a script is run as root beside them. The rules and queues are those of
:mod:`harness.environments.network.netem`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.environments.base import LinkFault
from harness.environments.machines.machine import Machine
from harness.environments.network.kernel import KernelLinks
from harness.environments.network.netem import Peer
from harness.environments.network.network import not_up


class Ground(Protocol):
    """The interface of a site to the kernels' network."""

    def peers(self) -> Mapping[str, Sequence[Peer]]:
        """Per node, the other nodes as it sees them; known once the machines are made."""
        ...

    async def as_root(self, node: str, script: str) -> str:
        """Run a script with ``sh`` as root in a node's network; what it printed, or SetupError."""
        ...


class KernelNetwork:
    """The links of one run on real or virtual cables.

    Args:
        where: name of the environment, for errors.
        ground: the site of the machines.
        own_namespace: whether to probe in a namespace made for it: see
            :func:`harness.environments.network.netem.probe_script`.
    """

    def __init__(self, where: str, ground: Ground, *, own_namespace: bool = False) -> None:
        self._where, self._ground = where, ground
        self._own_namespace = own_namespace
        self._addresses: dict[str, str] = {}
        #: None unless the run is up
        self.links: KernelLinks | None = None

    @property
    def up(self) -> bool:
        """Whether faults can be made."""
        return self.links is not None

    async def start(self, machines: Sequence[Machine]) -> None:
        """Find out what each kernel can do, and begin to count."""
        self._addresses = {machine.name: machine.address for machine in machines}
        peers, run = self._ground.peers(), self._ground.as_root
        self.links = KernelLinks(self._where, peers, run, own_namespace=self._own_namespace)
        await self.links.setup()

    async def stop(self) -> None:
        """Forget the links: rules and queues go with the machines."""
        self.links = None

    async def stay(self) -> None:
        """Kernels go on by themselves."""

    def peer_address(self, machine: Machine, peer: str, port: int, *, frames: bool) -> str:
        """The peer's own address, for frames as for bytes."""
        return f"{self._addresses[peer]}:{port}"

    def peers(self, machine: Machine) -> Sequence[str]:
        """The other nodes' own addresses."""
        return [each for name, each in self._addresses.items() if name != machine.name]

    def announced_address(self, machine: Machine, port: int) -> str:
        """The node's own address."""
        return f"{machine.address}:{port}"

    async def ready(self) -> None:
        """Nothing listens between nodes here."""
        if self.links is None:
            raise not_up()

    async def started(self, node: str, pid: int) -> None:
        """Kernels tell nodes apart by their addresses."""

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Give the kernels other rules and queues."""
        if self.links is not None:
            await self.links.set_links(faults)

    async def counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Packets, as the kernels counted them."""
        return {} if self.links is None else await self.links.counters()

    async def heal(self) -> None:
        """Remove our rules and queues."""
        if self.links is not None:
            await self.links.heal()

    async def faulty(self) -> list[str]:
        """Which links are faulty, as read back from the kernels."""
        return [] if self.links is None else await self.links.faulty()
