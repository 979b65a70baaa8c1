"""PySyncObj, a Raft library for Python objects, as a cluster of small processes.

Each node is :mod:`harness.databases.pysyncobj_node`: a replicated dictionary behind HTTP, with its
journal on disk. Reads are local, as the library's documentation shows them, so that stale reads are
there to be found; ``read_mode=replicated`` sends them through the log.

Options: ``read_mode`` (``local`` or ``replicated``), ``op_timeout_s``, ``objects`` (what keys are;
given by the workload).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

from harness.databases.base import Invocation, Outcome, operations_of
from harness.databases.http_clients import HttpDatabaseClient, leaders
from harness.environments.base import Node
from harness.errors import SetupError, nearest

PEER_PORT, HTTP_PORT = 4321, 8080
READ_MODES = ("local", "replicated")
READY_WITHIN_S = 30.0
OBJECTS: dict[str, tuple[str, ...]] = {
    "register": ("read", "write", "cas"),
    "counter": ("read", "add"),
}


class PySyncObj:
    """A cluster of replicated dictionaries."""

    name = "pysyncobj"
    environments = ("local", "netns", "docker", "ssh")

    def __init__(
        self, *, read_mode: str = "local", op_timeout_s: float = 5.0, objects: str = "register"
    ) -> None:
        self.operations = operations_of("pysyncobj", OBJECTS, objects)
        self.objects = objects
        if read_mode not in READ_MODES:
            raise nearest("read_mode", read_mode, READ_MODES)
        self.read_mode = read_mode
        self.op_timeout_s = op_timeout_s

    async def setup(self, node: Node) -> None:
        """Check that the library is there."""
        if importlib.util.find_spec("pysyncobj") is None:
            raise SetupError("PySyncObj is not installed: `pip install pysyncobj`")

    async def start(self, node: Node) -> None:
        """Start the node's process."""
        partners = [node.announced_by(peer, PEER_PORT) for peer in node.nodes if peer != node.name]
        await node.spawn(
            *(sys.executable, "-m", "harness.databases.pysyncobj_node", "--name", node.name),
            *("--self", node.announced_address(PEER_PORT)),
            *("--bind", f"{node.address}:{PEER_PORT}", "--partners", ",".join(partners)),
            *("--http", f"{node.address}:{HTTP_PORT}", "--data", "/data/pysyncobj"),
            ports=(PEER_PORT, HTTP_PORT),
        )

    async def ready(self, node: Node) -> None:
        """Wait until the node knows a leader and has its data."""
        await node.http_ok(HTTP_PORT, "/health", within_s=READY_WITHIN_S)

    async def teardown(self, node: Node) -> None:
        """Remove the node's journal."""
        await node.wipe("/data/pysyncobj")

    async def primaries(self, nodes: Sequence[Node]) -> list[str]:
        """Every node which believes that it leads."""
        return await leaders(
            nodes,
            HTTP_PORT,
            lambda http: http.get("/status"),
            lambda _, status: bool(status["leads"]),
        )

    def client(self) -> PySyncObjClient:
        """A client for one process."""
        return PySyncObjClient(self)


class PySyncObjClient(HttpDatabaseClient[PySyncObj]):
    """Speaks to one node, which decides itself what it knows of an operation."""

    database, port = "pysyncobj", HTTP_PORT

    async def _do(self, op: Invocation) -> Outcome:
        """An operation on one key."""
        request: dict[str, Any] = {"f": op.f, "key": str(op.key), "value": op.value}
        request["replicated"] = self._db.read_mode == "replicated"
        request["timeout_s"] = self._db.op_timeout_s * 0.9
        answer = await self._speaks.post("/op", request)
        match answer["type"]:
            case "ok":
                return op.ok(self._found(answer["value"])) if op.f == "read" else op.ok()
            case "fail":
                return op.fail(answer["error"])
            case _:
                return op.fail(answer["error"]) if op.f == "read" else op.info(answer["error"])

    def _found(self, value: Any) -> Any:
        return 0 if value is None and self._db.objects == "counter" else value
