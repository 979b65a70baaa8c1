"""Links through the proxy process, which listens wherever one node dials another.

A node is given an address of the proxy for each peer, so the address tells which directed link a
connection is. The proxy listens there before the next command of a node is run.

For the environment `local`; the proxy itself is :mod:`harness.environments.network.proxy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.environments import processes
from harness.environments.base import LinkFault
from harness.environments.journal import Journal
from harness.environments.machines.machine import Machine
from harness.environments.network import sockets
from harness.environments.network.addresses import announced_address, link_address, node_address
from harness.environments.network.network import not_up
from harness.environments.network.proxy_client import ProxyProcess
from harness.errors import SetupError, UsageError

At = tuple[str, int]


class ProxyNetwork:
    """The links of one run on loopback addresses.

    Args:
        journal: the run's.
        seed: of the links' randomness.
    """

    def __init__(self, journal: Journal, *, seed: int) -> None:
        self._journal, self._seed = journal, seed
        self._nodes = list(journal.nodes)
        self._proxy: ProxyProcess | None = None
        self._listeners: dict[At, dict[str, Any]] = {}
        self._mirrored_block = ""

    @property
    def up(self) -> bool:
        """Whether the proxy runs."""
        return self._proxy is not None

    async def start(self, machines: Sequence[Machine]) -> None:
        """Start the proxy."""
        self._proxy = await ProxyProcess.start(
            seed=self._seed,
            log=self._journal.run_dir / "proxy.log",
            env=self._journal.variables("proxy"),
            cwd=self._journal.run_dir,
        )
        self._journal.started("proxy", "", self._proxy.pid)
        await self._proxy.ask("counters")

    async def stop(self) -> None:
        """End the proxy."""
        if self._proxy is not None:
            await self._proxy.stop()
            self._proxy = None

    async def stay(self) -> None:
        """Have the proxy outlive the harness."""
        if self._proxy is not None:
            await self._proxy.ask("stay")

    # -- addresses -----------------------------------------------------------------------------

    def peer_address(self, machine: Machine, peer: str, port: int, *, frames: bool) -> str:
        """The proxy's address for the link to the peer."""
        target, block = self._nodes.index(peer) + 1, _block(machine)
        if target == machine.index:
            return f"{machine.address}:{port}"
        at = link_address(block, machine.index, target)
        to = node_address(block, target)
        self._want(machine.name, peer, (at, port), (to, port), frames)
        return f"{at}:{port}"

    def peers(self, machine: Machine) -> Sequence[str]:
        """The proxy's addresses; it listens at each port at which a peer does."""
        self._mirrored_block = block = _block(machine)
        others = range(1, len(self._nodes) + 1)
        return [link_address(block, machine.index, i) for i in others if i != machine.index]

    def announced_address(self, machine: Machine, port: int) -> str:
        """The proxy's address for all peers; the proxy finds out who dials."""
        at = announced_address(_block(machine), machine.index)
        self._want("", machine.name, (at, port), (machine.address, port), False)
        return f"{at}:{port}"

    def _want(self, source: str, target: str, at: At, to: At, frames: bool) -> None:
        known = self._listeners.get(at)
        if known is None:
            fields = {"source": source, "target": target, "at": at, "to": to, "frames": frames}
            self._listeners[at] = {**fields, "open": False}
        elif known["frames"] != frames:
            raise UsageError(f"port {at[1]} of {target} is asked for as both frames and bytes")

    async def ready(self) -> None:
        """Make the proxy listen at every address handed out so far."""
        if self._proxy is None:
            raise not_up()
        if self._mirrored_block:
            await self._proxy.ask("mirror", block=self._mirrored_block, nodes=self._nodes)
        # Others may ask for listeners while we wait; theirs are opened by their own call.
        for at, fields in list(self._listeners.items()):
            if not fields["open"]:
                await self._listen(self._proxy, at, fields)

    @staticmethod
    async def _listen(proxy: ProxyProcess, at: At, fields: dict[str, Any]) -> None:
        fields["open"] = True
        try:
            await proxy.ask("listen", **fields)
        except OSError as error:
            fields["open"] = False
            owner = sockets.port_owner(*at)
            who = f", in use by {processes.describe(owner)}" if owner else ""
            raise SetupError(
                f"the proxy cannot listen on {at[0]}:{at[1]} for {fields['target']}"
                f"{who}: {error.strerror}"
            ) from error

    async def started(self, node: str, pid: int) -> None:
        """Tell the proxy whose connections a process makes."""
        if self._proxy is not None:
            await self._proxy.ask("node", node=node, session=pid)

    # -- faults --------------------------------------------------------------------------------

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Tell the proxy."""
        if self._proxy is not None:
            await self._proxy.set_links(faults)

    async def counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """The counters of the proxy."""
        return {} if self._proxy is None else await self._proxy.counters()

    async def heal(self) -> None:
        """Have no fault."""
        await self.set_links({})

    async def faulty(self) -> list[str]:
        """Which links the proxy makes faulty now."""
        if self._proxy is None:
            return []
        faults = (await self._proxy.ask("links?"))["faults"]
        return [f"the link {source} to {target} is faulty" for source, target, _ in faults]


def _block(machine: Machine) -> str:
    """The three bytes of addresses which all nodes of a run share."""
    return machine.address.rpartition(".")[0]
