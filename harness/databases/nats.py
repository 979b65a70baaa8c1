"""NATS with JetStream: streams replicated by Raft, as queues and as logs.

A queue is a stream with the retention of a work queue and one durable consumer that all clients
pull from; an acknowledgement takes a message out. A message whose acknowledgement was lost comes
again: delivery is at least once, so the workload ``queue`` without ``exactly_once`` is what is
claimed. Messages carry an id, by which a stream drops a publication that came twice.

A set is a stream whose messages are the elements; it is read from its first message to its last. A
log is a stream too: a message's offset is its sequence number less one, and a poll reads from there
what the stream's leader says it holds.

Servers get each other's addresses as each must dial them, and do not advertise their own.

Options: ``binary``, ``replicas`` (of each stream; as many as nodes, at most 5, if not given),
``ack_wait_s``, ``op_timeout_s``, ``objects`` (what keys are; given by the workload).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import msgspec

from harness.databases.base import Invocation, Outcome, operations_of
from harness.databases.http_clients import answered
from harness.databases.programs import NATS
from harness.environments.base import Node
from harness.errors import SetupError, UsageError

CLIENT_PORT, CLUSTER_PORT, MONITOR_PORT = 4222, 6222, 8222
READY_WITHIN_S = 60.0
DATA = "/data/nats"
OBJECTS: dict[str, tuple[str, ...]] = {
    "queue": ("enqueue", "dequeue", "drain"),
    "set": ("add", "read"),
    "log": ("send", "poll", "assign"),
}
_READS = frozenset({"read", "poll", "assign"})
#: a pull that found nothing for so long says that the queue is empty
_EMPTY_S = 0.5
_BATCH = 100
#: messages one poll of a log returns at most
_POLL_MAX = 1000
#: messages of a stream asked for at a time
_AT_ONCE = 100
#: JetStream's code for a sequence number at which there is no message
_NO_MESSAGE = 10037


class Nats:
    """A cluster of NATS servers with JetStream."""

    name = "nats"
    environments = ("local", "netns", "docker", "ssh")
    #: an image that holds it; any with its programs and a shell will do
    image = "nats:2-alpine"

    def __init__(
        self,
        *,
        binary: str = "",
        replicas: int = 0,
        ack_wait_s: float = 5.0,
        op_timeout_s: float = 5.0,
        objects: str = "queue",
    ) -> None:
        self.operations = operations_of("nats", OBJECTS, objects)
        self.objects = objects
        self.binary = binary
        self.replicas = replicas
        self.ack_wait_s = ack_wait_s
        self.op_timeout_s = op_timeout_s

    async def setup(self, node: Node) -> None:
        """Check the binary and the client."""
        self.binary = await NATS.on(node, self.binary)
        if importlib.util.find_spec("nats") is None:
            raise SetupError("NATS's client is not installed: `pip install nats-py`")

    async def start(self, node: Node) -> None:
        """Start the server."""
        others = [peer for peer in node.nodes if peer != node.name]
        routes = [f"nats://{node.peer_address(peer, CLUSTER_PORT)}" for peer in others]
        argv = ["--name", node.name, "--addr", node.address, "--port", str(CLIENT_PORT)]
        argv += ["--http_port", str(MONITOR_PORT), "--jetstream", "--store_dir", DATA]
        if routes:
            argv += ["--cluster_name", "splitbrain", "--routes", ",".join(routes)]
            argv += ["--cluster", f"nats://{node.address}:{CLUSTER_PORT}", "--no_advertise"]
        await node.spawn(self.binary, *argv, ports=(CLIENT_PORT, CLUSTER_PORT, MONITOR_PORT))

    async def ready(self, node: Node) -> None:
        """Wait until JetStream has a leader that this server knows."""
        await node.http_ok(MONITOR_PORT, "/healthz", within_s=READY_WITHIN_S)
        loop = asyncio.get_running_loop()
        until = loop.time() + READY_WITHIN_S
        while len(node.nodes) > 1:
            if (await self._meta(node)).get("leader"):
                return
            if loop.time() > until:
                raise SetupError(f"JetStream on {node.name} has no leader")
            await asyncio.sleep(0.2)

    async def _meta(self, node: Node) -> dict[str, Any]:
        answer = await answered(node, MONITOR_PORT, lambda http: http.get("/jsz"))
        meta = answer.get("meta_cluster") if isinstance(answer, dict) else None
        return meta or {}

    async def teardown(self, node: Node) -> None:
        """Remove the node's data."""
        await node.wipe(DATA)

    async def primaries(self, nodes: Sequence[Node]) -> list[str]:
        """The servers which say that they lead JetStream's own group."""
        found = await asyncio.gather(*(self._meta(node) for node in nodes))
        return [node.name for node, meta in zip(nodes, found) if meta.get("leader") == node.name]

    def client(self) -> NatsClient:
        """A client for one process."""
        return NatsClient(self)


class NatsClient:
    """Speaks to one server."""

    def __init__(self, db: Nats) -> None:
        self._db = db
        self.operations = db.operations
        self._connection: Any = None
        self._stream: Any = None
        self._node: Node | None = None
        self._made: set[str] = set()
        self._pulls: dict[str, Any] = {}

    async def open(self, node: Node) -> None:
        """Connect, never elsewhere. A connection that was lost is replaced by the next operation,
        before anything is sent, and never while one is under way."""
        import nats

        await self.close()
        self._node = node
        self._connection = await nats.connect(
            f"nats://{node.address}:{CLIENT_PORT}",
            allow_reconnect=False,
            connect_timeout=2,
            error_cb=_quiet,
        )
        self._stream = self._connection.jetstream(timeout=self._db.op_timeout_s * 0.9)

    async def invoke(self, op: Invocation) -> Outcome:
        """One operation."""
        from nats.errors import Error, NoRespondersError
        from nats.js.errors import APIError

        if op.f not in self.operations:
            raise UsageError(f"the nats client has no operation {op.f!r} on these objects")
        try:
            name = await self._ready(op)
        except (Error, OSError, TimeoutError, AttributeError) as error:
            return op.fail(f"before anything was sent: {type(error).__name__} {error}")
        try:
            outcome: Outcome = await getattr(self, f"_{op.f}")(op, name)
            return outcome
        except NoRespondersError:
            return op.fail("the stream has no leader")
        except (APIError, Error, OSError, TimeoutError) as error:
            text = f"{type(error).__name__} {error}".strip()
            return op.fail(text) if op.f in _READS else op.info(text)

    async def _ready(self, op: Invocation) -> str:
        """The stream's name; stream and consumer made if they are not there."""
        from nats.js import api

        node = self._node
        assert node is not None, "open() comes before invoke()"
        if self._connection is None or self._connection.is_closed:
            await self.open(node)
        name = f"{self._db.objects}-{op.key}"
        if name not in self._made:
            work = self._db.objects == "queue"
            kept = api.RetentionPolicy.WORK_QUEUE if work else api.RetentionPolicy.LIMITS
            copies = self._db.replicas or min(len(node.nodes), 5)
            await self._stream.add_stream(
                name=name, subjects=[name], retention=kept, num_replicas=copies
            )
            self._made.add(name)
        if self._db.objects == "queue" and name not in self._pulls and op.f != "enqueue":
            wait = api.ConsumerConfig(ack_wait=self._db.ack_wait_s, max_ack_pending=10_000)
            self._pulls[name] = await self._stream.pull_subscribe(
                name, "workers", stream=name, config=wait
            )
        return name

    async def _publish(self, op: Invocation, name: str) -> int:
        """The sequence number the stream gave it."""
        headers = {"Nats-Msg-Id": f"{name}-{op.value}"}
        published = await self._stream.publish(name, msgspec.json.encode(op.value), headers=headers)
        return int(published.seq)

    async def _enqueue(self, op: Invocation, name: str) -> Outcome:
        await self._publish(op, name)
        return op.ok()

    _add = _enqueue

    async def _send(self, op: Invocation, name: str) -> Outcome:
        return op.ok(await self._publish(op, name) - 1)

    async def _dequeue(self, op: Invocation, name: str) -> Outcome:
        try:
            (message,) = await self._pulls[name].fetch(1, timeout=_EMPTY_S)
        except TimeoutError:
            return op.fail("nothing came in time")  # not the same as empty
        await message.ack_sync(timeout=self._db.op_timeout_s * 0.9)
        return op.ok(msgspec.json.decode(message.data))

    async def _drain(self, op: Invocation, name: str) -> Outcome:
        """Takes messages until the stream says that it holds none."""
        drained: list[Any] = []
        loop = asyncio.get_running_loop()
        until = loop.time() + self._db.op_timeout_s * 0.8
        while loop.time() < until:
            with contextlib.suppress(TimeoutError):
                for message in await self._pulls[name].fetch(_BATCH, timeout=_EMPTY_S):
                    await message.ack_sync(timeout=1)
                    drained.append(msgspec.json.decode(message.data))
            if not (await self._stream.stream_info(name)).state.messages:
                return op.ok(drained)
        return op.info("the stream still held messages")

    async def _read(self, op: Invocation, name: str) -> Outcome:
        pairs = await self._from(name, 1)
        return op.ok([value for _, value in pairs])

    async def _poll(self, op: Invocation, name: str) -> Outcome:
        pairs = await self._from(name, op.value["from"] + 1, most=_POLL_MAX)
        return op.ok([[sequence - 1, value] for sequence, value in pairs])

    async def _assign(self, op: Invocation, name: str) -> Outcome:
        return op.ok()  # every poll says where it begins

    async def _from(
        self, name: str, first: int, *, most: int | None = None
    ) -> list[tuple[int, Any]]:
        """Sequence numbers and values from one on, up to the last that the stream has now.

        The stream's leader is asked for each message. A consumer would have to be made first, by
        JetStream's own group, on any server, and would be silent for a while if that went wrong.
        """
        last = await self._last(name)
        found: list[tuple[int, Any]] = []
        for begin in range(first, last + 1, _AT_ONCE):
            page = range(begin, min(begin + _AT_ONCE, last + 1))
            messages = await asyncio.gather(*(self._message(name, each) for each in page))
            found += [message for message in messages if message is not None]
            if most is not None and len(found) >= most:
                return found[:most]
        if len(found) <= last - first and await self._last(name) < last:
            raise ConnectionError("another server leads the stream, and has less of it")
        return found

    async def _last(self, name: str) -> int:
        """The sequence number of the stream's last message."""
        return int((await self._stream.stream_info(name)).state.last_seq)

    async def _message(self, name: str, sequence: int) -> tuple[int, Any] | None:
        """The message at a sequence number, of the stream's leader; None if it holds none there."""
        from nats.js.errors import NotFoundError

        try:
            message = await self._stream.get_msg(name, sequence)
        except NotFoundError as error:
            if error.err_code != _NO_MESSAGE:
                raise
            return None
        return sequence, msgspec.json.decode(message.data)

    async def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        self._made.clear()
        self._pulls.clear()
        if connection is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    await connection.close()


async def _quiet(error: Exception) -> None:
    """Errors of the connection show in the operations they end."""
