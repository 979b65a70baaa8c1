"""Consul's key-value store, over its HTTP interface: nothing to install but its binary.

Reads are ``consistent`` (the leader asks a quorum first), ``default`` (the leader answers by its
lease) or ``stale`` (any server answers). Writes go through Raft; compare-and-set is by a key's
``ModifyIndex``. Locks are keys acquired by a session with a time to live; a lock's ``LockIndex``
grows with each acquisition and is the fencing token.

Servers gossip over UDP and announce one address, which others dial. On ``local``, where links are
proxies, a partition therefore cuts nothing and such a run is UNKNOWN: use ``netns``, ``docker`` or
``ssh``. The binary must be on the nodes: on the path, or where ``binary`` says.

The client was tested against the interface's documented answers, never yet against a Consul: none
was to be had where this was written.

Options: ``binary``, ``read_mode``, ``ttl_s`` (of lock sessions; Consul allows 10 s at least),
``op_timeout_s``, ``args``, ``objects`` (what keys are; given by the workload).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from harness.databases.base import operations_of
from harness.databases.consul_clients import CLIENTS, HTTP_PORT, ConsulClient
from harness.databases.http_clients import leaders
from harness.environments.base import Node
from harness.environments.http import HttpStatus
from harness.errors import SetupError, UsageError, nearest
from workloads.lock import FencedResource

RPC_PORT, GOSSIP_PORT = 8300, 8301
READ_MODES = ("consistent", "default", "stale")
READY_WITHIN_S = 60.0
TTL_LEAST_S = 10.0
DATA = "/data/consul"


class Consul:
    """A cluster of Consul servers."""

    name = "consul"
    environments = ("local", "netns", "docker", "ssh")
    #: an image that holds it; any with its programs and a shell will do
    image = "hashicorp/consul:1.15"

    def __init__(
        self,
        *,
        binary: str = "consul",
        read_mode: str = "consistent",
        ttl_s: float = TTL_LEAST_S,
        op_timeout_s: float = 5.0,
        args: str | Sequence[str] = (),
        objects: str = "register",
    ) -> None:
        if read_mode not in READ_MODES:
            raise nearest("read_mode", read_mode, READ_MODES)
        if ttl_s < TTL_LEAST_S:
            raise UsageError(
                f"option ttl_s is {ttl_s:g}; Consul refuses sessions of less than {TTL_LEAST_S:g} s"
            )
        table = {kind: client.operations for kind, client in CLIENTS.items()}
        self.operations = operations_of("consul", table, objects)
        self.objects = objects
        self.binary = binary
        self.read_mode = read_mode
        self.ttl_s = ttl_s
        self.op_timeout_s = op_timeout_s
        self.args = tuple(args.split() if isinstance(args, str) else args)
        #: what lock holders write to; outside Consul
        self.resource = FencedResource()

    async def setup(self, node: Node) -> None:
        """Check that the node has the binary."""
        found = await node.run("sh", "-c", 'command -v "$1"', "sh", self.binary, check=False)
        if found.exit_code != 0:
            raise SetupError(
                f"consul is not on {node.name}: binary {self.binary!r} is not there; put the "
                "binary of HashiCorp's release, or of its container image, on the nodes and give "
                "its path with --db-option binary=PATH"
            )
        await node.run("mkdir", "-p", DATA)

    async def start(self, node: Node) -> None:
        """Start the server."""
        await node.spawn(*self.argv(node), ports=(HTTP_PORT, RPC_PORT, GOSSIP_PORT))

    def argv(self, node: Node) -> list[str]:
        """The server's command line."""
        others = [peer for peer in node.nodes if peer != node.name]
        return [
            *(self.binary, "agent", "-server", "-node", node.name, "-data-dir", DATA),
            *("-bind", node.address, "-advertise", node.address, "-client", node.address),
            *("-bootstrap-expect", str(len(node.nodes)), "-disable-host-node-id"),
            *("-http-port", str(HTTP_PORT), "-dns-port", "-1", "-grpc-port", "-1"),
            *("-grpc-tls-port", "-1", "-serf-wan-port", "-1", "-log-level", "info"),
            *(word for peer in others for word in ("-retry-join", node.client_address(peer))),
            *("-retry-interval", "1s"),
            *self.args,
        ]

    async def ready(self, node: Node) -> None:
        """Wait until the server knows a leader and answers a consistent read."""
        loop = asyncio.get_running_loop()
        until = loop.time() + READY_WITHIN_S
        why = "no server answered"
        while loop.time() < until:
            client = await node.http(HTTP_PORT, timeout_s=2.0)
            try:
                if await client.get("/v1/status/leader"):
                    await client.get("/v1/kv/?keys&consistent")
                    return
                why = "it knows no leader"
            except HttpStatus as error:
                if error.status == 404:
                    return  # a consistent answer: there are no keys yet
                why = str(error)
            except (OSError, TimeoutError) as error:
                why = str(error) or "no answer"
            finally:
                await client.close()
            await asyncio.sleep(0.2)
        raise SetupError(f"Consul on {node.name} did not serve in {READY_WITHIN_S:g} s: {why}")

    async def teardown(self, node: Node) -> None:
        """Remove the node's data."""
        await node.wipe(DATA)

    async def primaries(self, nodes: Sequence[Node]) -> list[str]:
        """Every server that takes itself for the leader."""
        return await leaders(
            nodes,
            HTTP_PORT,
            lambda http: http.get("/v1/status/leader"),
            lambda node, leader: bool(leader == f"{node.address}:{RPC_PORT}"),
        )

    def client(self) -> ConsulClient:
        """A client for one process."""
        return CLIENTS[self.objects](self)
