"""PostgreSQL, one server, at the isolation level of one's choice.

A single server is the plainest place to see what isolation levels mean: read committed loses
updates and sees half of other transactions, repeatable read is snapshot isolation and has write
skew, serializable has neither. Faults that fit are kill (crash recovery) and pause.

The server refuses to run as root. Then it runs as the user ``run_as``, by ``setpriv``, and keeps
the capability to pass through directories of others, so that its data may lie in the run's own.

Options: ``isolation`` (``read-committed``, ``repeatable-read`` or ``serializable``), ``bin_dir``
(a directory, ``debian`` or ``wheel``), ``run_as`` (``postgres`` where there is such a user, else
``nobody``), ``think_ms`` (how long a client thinks between the statements of a transaction, as
programs do; transactions then overlap on any machine), ``op_timeout_s``, ``args`` (more ``-c``
settings), ``objects`` (what keys are; given by the workload).
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from harness.databases.base import operations_of
from harness.databases.postgres_clients import CLIENTS, LEVELS, PORT, USER, PostgresClient, connect
from harness.databases.programs import POSTGRES
from harness.databases.users import as_user, give, user_of
from harness.environments.base import Node
from harness.errors import SetupError, UsageError, nearest

DATA = "/data/postgres"
READY_WITHIN_S = 30.0


def find_bin_dir(named: str = "") -> Path:
    """The directory of ``initdb`` and ``postgres``.

    Args:
        named: a directory, ``debian`` or ``wheel``; whichever there is when empty.

    Raises:
        SetupError: there is none, with how to get one.
    """
    words = ("", "debian", "wheel")
    place = Path(POSTGRES.find(named)).parent if named in words else Path(named)
    if not ((place / "initdb").exists() and (place / "postgres").exists()):
        raise SetupError(f"bin_dir {str(place)!r} has no initdb and postgres")
    return place


class Postgres:
    """One PostgreSQL server."""

    name = "postgres"
    environments = ("local", "netns", "docker", "ssh")
    #: an image that holds it; any with its programs and a shell will do
    image = "postgres:16"

    def __init__(
        self,
        *,
        isolation: str = "serializable",
        bin_dir: str = "",
        run_as: str = "",
        think_ms: float = 0.0,
        op_timeout_s: float = 5.0,
        args: str | Sequence[str] = (),
        nodes: Sequence[str] = ("n1",),
        objects: str = "txn-list",
    ) -> None:
        if isolation not in LEVELS:
            raise nearest("isolation", isolation, LEVELS)
        if len(nodes) != 1:
            raise UsageError(
                f"postgres is a single server here and the test has {len(nodes)} nodes, which "
                "would be as many databases; give --nodes 1"
            )
        if not 0 <= think_ms <= op_timeout_s * 1000:
            raise UsageError(
                f"option think_ms is {think_ms:g}; it lies between 0 and the time an operation "
                f"may take, {op_timeout_s:g} s"
            )
        table = {kind: client.operations for kind, client in CLIENTS.items()}
        self.operations = operations_of("postgres", table, objects)
        self.objects = objects
        self.isolation = isolation
        self.bin_dir = bin_dir
        self.run_as = run_as or user_of("postgres")
        self.think_ms = think_ms
        self.op_timeout_s = op_timeout_s
        self.args = tuple(args.split() if isinstance(args, str) else args)

    async def setup(self, node: Node) -> None:
        """Make a cluster of databases and the tables."""
        if importlib.util.find_spec("psycopg") is None:
            raise SetupError(
                "PostgreSQL's client is not installed: `pip install 'psycopg[binary]'`"
            )
        self.bin_dir = str(find_bin_dir(self.bin_dir))
        await give(node, DATA, self.run_as)
        auth = ("--auth", "trust", "--username", USER, "--no-sync")
        await node.run(
            *as_user(self.run_as, what="PostgreSQL"),
            f"{self.bin_dir}/initdb",
            "-D",
            DATA,
            *auth,
            timeout_s=60,
        )

    async def start(self, node: Node) -> None:
        """Start the server."""
        settings = [
            *("-c", f"listen_addresses={node.address}", "-c", f"port={PORT}"),
            *("-c", "unix_socket_directories=", "-c", "max_connections=200"),
            # The default, 1 s, would make deadlocks most of what a short run does.
            *("-c", "deadlock_timeout=20ms"),
            *self.args,
        ]
        program = (f"{self.bin_dir}/postgres", "-D", DATA, *settings)
        await node.spawn(*as_user(self.run_as, what="PostgreSQL"), *program, ports=(PORT,))

    async def ready(self, node: Node) -> None:
        """Wait until it answers, and has its tables."""
        import psycopg

        loop = asyncio.get_running_loop()
        until = loop.time() + READY_WITHIN_S
        while True:
            try:
                connection = await connect(node.address, timeout_s=2.0)
                async with connection:
                    await PostgresClient.make_tables(connection)
                return
            except (psycopg.Error, OSError, TimeoutError) as error:
                if loop.time() > until:
                    raise SetupError(
                        f"PostgreSQL on {node.name} did not serve in {READY_WITHIN_S:g} s: {error}"
                    ) from error
            await asyncio.sleep(0.1)

    async def teardown(self, node: Node) -> None:
        """Remove its data."""
        await node.wipe(DATA)

    def client(self) -> PostgresClient:
        """A client for one process."""
        return CLIENTS[self.objects](self)
