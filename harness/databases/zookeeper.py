"""ZooKeeper: an ensemble of Java servers, spoken to through kazoo.

Writes go through the leader; a read is answered by whichever server the client is connected to,
from its own copy, and may be old. ``read_mode`` is the request before a read on the same session:

- ``local``: nothing. Stale reads, as documented;
- ``sync``, the default: ``sync`` makes that server catch up with the leader. But the leader answers
  it alone, without asking a quorum whether it still leads. One that was stopped or cut off, and
  deposed meanwhile, answers until it notices, so this is not linearizable;
- ``write``: a write of nothing. Only a quorum can acknowledge it, and this server has applied all
  that was acknowledged before it, so the read is linearizable; it costs what a write costs.

All servers share one list of names, and a server sends its own name when it dials another. So
that each pair of nodes still has links of its own to cut, every server resolves the names by a
hosts file of its own (``jdk.net.hosts.file``), which holds the addresses as this node must dial
them.

Watches of ZooKeeper fire once and tell that something changed, not what: they skip changes by
design, so the workload ``watch`` is not offered.

Options: ``read_mode``, ``tick_ms``, ``session_s``, ``classpath``, ``java``, ``heap_mb``,
``op_timeout_s``, ``objects`` (what keys are; given by the workload).
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.databases.base import operations_of
from harness.databases.zookeeper_clients import CLIENT_PORT, CLIENTS, ZooKeeperClient
from harness.environments.base import Node
from harness.errors import SetupError, nearest
from workloads.lock import FencedResource

QUORUM_PORT, ELECTION_PORT = 2888, 3888
READ_MODES = ("sync", "write", "local")
READY_WITHIN_S = 60.0
DATA = "/data/zookeeper"
#: writes a file in which @DATA@ stands for the node's directory
_WRITE = "import sys; open(sys.argv[1], 'w').write(sys.argv[2].replace('@DATA@', sys.argv[3]))"
_DEBIAN = ("/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar")


def jars() -> str:
    """The class path of Debian's ZooKeeper; "" if it is not installed."""
    found = [path for path in _DEBIAN if Path(path).exists()]
    return ":".join(found) if Path(_DEBIAN[0]).exists() else ""


class ZooKeeper:
    """An ensemble of ZooKeeper servers."""

    name = "zookeeper"
    environments = ("local", "netns", "docker", "ssh")
    #: an image that holds it; any with its programs and a shell will do
    image = "zookeeper:3.8"

    def __init__(
        self,
        *,
        read_mode: str = "sync",
        tick_ms: int = 500,
        session_s: float = 2.0,
        classpath: str = "",
        java: str = "java",
        heap_mb: int = 128,
        op_timeout_s: float = 5.0,
        objects: str = "register",
    ) -> None:
        if read_mode not in READ_MODES:
            raise nearest("read_mode", read_mode, READ_MODES)
        table = {kind: client.operations for kind, client in CLIENTS.items()}
        self.operations = operations_of("zookeeper", table, objects)
        self.objects = objects
        self.read_mode = read_mode
        self.tick_ms = tick_ms
        self.session_s = session_s
        self.classpath = classpath
        self.java = java
        self.heap_mb = heap_mb
        self.op_timeout_s = op_timeout_s
        #: what lock holders write to; outside ZooKeeper
        self.resource = FencedResource()
        self.threads = ThreadPoolExecutor(128, thread_name_prefix="zookeeper")

    async def setup(self, node: Node) -> None:
        """Check the programs; write the server's files."""
        if shutil.which(self.java) is None:
            raise SetupError("ZooKeeper needs Java: `apt-get install default-jre-headless`")
        if not self.classpath and not jars():
            raise SetupError(
                "ZooKeeper is not installed: `apt-get install zookeeper`, or give its jars with "
                "--db-option classpath=A.jar:B.jar"
            )
        if importlib.util.find_spec("kazoo") is None:
            raise SetupError("ZooKeeper's client is not installed: `pip install kazoo`")
        await node.run("mkdir", "-p", DATA)
        number = list(node.nodes).index(node.name) + 1
        await self._write(node, "zoo.cfg", self._config(node))
        await self._write(node, "hosts", self._hosts(node))
        await self._write(node, "myid", f"{number}\n")

    @staticmethod
    async def _write(node: Node, name: str, text: str) -> None:
        await node.run("python3", "-c", _WRITE, f"{DATA}/{name}", text, DATA)

    def _config(self, node: Node) -> str:
        lines = [
            f"tickTime={self.tick_ms}",
            "initLimit=10",
            "syncLimit=4",
            "dataDir=@DATA@",
            f"clientPort={CLIENT_PORT}",
            f"clientPortAddress={node.address}",
            "admin.enableServer=false",
            "maxClientCnxns=0",
            "4lw.commands.whitelist=ruok,srvr,mntr",
        ]
        for number, name in enumerate(node.nodes, start=1):
            lines.append(f"server.{number}={name}:{QUORUM_PORT}:{ELECTION_PORT}")
        return "\n".join(lines) + "\n"

    @staticmethod
    def _hosts(node: Node) -> str:
        lines = []
        for name in node.nodes:
            host = node.peer_address(name, QUORUM_PORT).rpartition(":")[0]
            node.peer_address(name, ELECTION_PORT)
            lines.append(f"{host} {name}")
        return "\n".join(lines) + "\n"

    async def start(self, node: Node) -> None:
        """Start the server."""
        classpath = self.classpath or jars()
        await node.spawn(
            *(self.java, "-cp", classpath, f"-Xmx{self.heap_mb}m", "-XX:+UseSerialGC"),
            *("-XX:TieredStopAtLevel=1", f"-Djdk.net.hosts.file={DATA}/hosts"),
            # Debian's logger prints no time by default.
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            *("org.apache.zookeeper.server.quorum.QuorumPeerMain", f"{DATA}/zoo.cfg"),
            ports=(CLIENT_PORT, ELECTION_PORT),
        )

    async def ready(self, node: Node) -> None:
        """Wait until it says that it leads or follows."""
        loop = asyncio.get_running_loop()
        until = loop.time() + READY_WITHIN_S
        said = ""
        while loop.time() < until:
            said = await asked(node.address, "srvr")
            if "Mode: leader" in said or "Mode: follower" in said or "Mode: standalone" in said:
                return
            await asyncio.sleep(0.2)
        raise SetupError(
            f"ZooKeeper on {node.name} did not join the ensemble in {READY_WITHIN_S:g} s; "
            f"it says {said.strip()!r}"
        )

    async def teardown(self, node: Node) -> None:
        """Remove the node's data."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        await node.wipe(DATA)

    async def primaries(self, nodes: Sequence[Node]) -> list[str]:
        """Every server which says that it leads."""
        said = await asyncio.gather(*(asked(node.address, "srvr") for node in nodes))
        return [node.name for node, text in zip(nodes, said) if "Mode: leader" in text]

    def client(self) -> ZooKeeperClient:
        """A client for one process."""
        return CLIENTS[self.objects](self)


async def asked(host: str, word: str, *, timeout_s: float = 0.5) -> str:
    """The answer of a server to a four-letter word; "" if it does not answer."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, CLIENT_PORT)
            try:
                writer.write(word.encode())
                return (await reader.read(65536)).decode("utf-8", "replace")
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return ""
