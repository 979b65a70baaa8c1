"""MariaDB with Galera: every server takes writes, which are certified against each other.

A transaction runs on one server alone; at its commit its rows are sent to all, in one total order,
and the first of two that wrote the same row wins: the other gets a deadlock error. So a commit is a
matter of the whole cluster, and a read is not: a server applies the commits of others
later, and reads are stale unless ``sync_wait`` makes them wait. The claim is snapshot isolation
at most, for every isolation level of a session.

A member announces the address it listens on to all others, and they dial that. On ``local``, where
links are proxies, a partition therefore cuts nothing, and a run whose partitions do not bite is
UNKNOWN: use ``netns``, ``docker`` or ``ssh`` for them. Kill and pause work everywhere.

The first node founds the cluster, once; a killed server joins again and gets what it missed from
another (``rsync``). There is no leader, so the target ``primaries`` is empty.

Options: ``isolation`` (of sessions: ``read-committed``, ``repeatable-read`` or ``serializable``),
``sync_wait`` (which statements wait until the server has caught up: 0 none, 1 reads, 7 all),
``provider`` (path of the Galera library), ``run_as`` (the servers' user, if we are root),
``think_ms`` (see PostgreSQL), ``args``, ``op_timeout_s``, ``objects`` (what keys are; given by the
workload).
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.databases.base import operations_of
from harness.databases.galera_clients import CLIENTS, LEVELS, PORT, GaleraClient, connect
from harness.databases.users import as_user, give
from harness.environments.base import Node
from harness.errors import SetupError, UsageError, nearest

GROUP_PORT, STATE_PORT, TRANSFER_PORT = 4567, 4568, 4444
DATA = "/data/galera"
READY_WITHIN_S = 90.0
PROVIDER = "/usr/lib/galera/libgalera_smm.so"
SYNC_WAITS = range(16)
#: Founds the cluster the first time and joins it ever after. Arguments: a marker file, the program.
_FIRST_OR_AGAIN = (
    'marker=$1; shift; if [ -e "$marker" ]; then exec "$@"; fi; '
    ': > "$marker"; exec "$@" --wsrep-new-cluster'
)


def find_provider(named: str = "") -> str:
    """Path of the Galera library.

    Raises:
        SetupError: MariaDB, Galera or rsync is not installed, with how to get it.
    """
    for program in ("mariadbd", "mariadb-install-db", "rsync"):
        if shutil.which(program) is None:
            raise SetupError(
                f"{program} is not installed: `apt-get install mariadb-server galera-4 rsync`"
            )
    path = named or PROVIDER
    if not Path(path).exists():
        raise SetupError(
            f"there is no Galera library at {path!r}: `apt-get install galera-4`, or give its path "
            "with --db-option provider=PATH"
        )
    return path


class Galera:
    """A cluster of MariaDB servers."""

    name = "galera"
    environments = ("local", "netns", "docker", "ssh")
    #: an image that holds it; any with its programs and a shell will do
    image = "mariadb:10.11"

    def __init__(
        self,
        *,
        isolation: str = "repeatable-read",
        sync_wait: int = 0,
        provider: str = "",
        run_as: str = "mysql",
        think_ms: float = 0.0,
        op_timeout_s: float = 5.0,
        args: str | Sequence[str] = (),
        objects: str = "txn-list",
    ) -> None:
        if isolation not in LEVELS:
            raise nearest("isolation", isolation, LEVELS)
        if sync_wait not in SYNC_WAITS:
            raise UsageError(f"option sync_wait is {sync_wait!r}; it is a number from 0 to 15")
        table = {kind: client.operations for kind, client in CLIENTS.items()}
        self.operations = operations_of("galera", table, objects)
        self.objects = objects
        self.isolation = isolation
        self.sync_wait = sync_wait
        self.provider = provider
        self.run_as = run_as
        self.think_ms = think_ms
        self.op_timeout_s = op_timeout_s
        self.args = tuple(args.split() if isinstance(args, str) else args)
        self.threads = ThreadPoolExecutor(128, thread_name_prefix="galera")

    async def setup(self, node: Node) -> None:
        """Make an empty server."""
        self.provider = find_provider(self.provider)
        if importlib.util.find_spec("pymysql") is None:
            raise SetupError("MariaDB's client is not installed: `pip install PyMySQL`")
        for directory in (DATA, f"{DATA}/tmp"):
            await give(node, directory, self.run_as)
        await node.run(
            *as_user(self.run_as, what="MariaDB"),
            *("mariadb-install-db", "--no-defaults", f"--datadir={DATA}/db", "--skip-test-db"),
            f"--tmpdir={DATA}/tmp",  # in a shared one they would remove each other's files
            timeout_s=120,
        )

    async def start(self, node: Node) -> None:
        """Start the server."""
        program = [*as_user(self.run_as, what="MariaDB"), *self.argv(node)]
        if node.name == node.nodes[0]:
            program = ["sh", "-c", _FIRST_OR_AGAIN, "sh", f"{DATA}/founded", *program]
        await node.spawn(*program, ports=(PORT, GROUP_PORT, STATE_PORT))

    def argv(self, node: Node) -> list[str]:
        """The server's command line."""
        members = ",".join(f"{node.client_address(name)}:{GROUP_PORT}" for name in node.nodes)
        provider = {
            "gmcast.listen_addr": f"tcp://{node.address}:{GROUP_PORT}",
            "ist.recv_addr": f"{node.address}:{STATE_PORT}",
            "base_host": node.address,
        }
        return [
            *("mariadbd", "--no-defaults", f"--datadir={DATA}/db"),
            *(f"--bind-address={node.address}", f"--port={PORT}", f"--tmpdir={DATA}/tmp"),
            *(f"--socket={DATA}/socket", f"--pid-file={DATA}/pid", "--skip-grant-tables"),
            *("--skip-name-resolve", "--max-connections=300", "--innodb-buffer-pool-size=32M"),
            *("--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=1"),
            *("--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON"),
            *(f"--wsrep-provider={self.provider}", "--wsrep-cluster-name=splitbrain"),
            *(f"--wsrep-node-name={node.name}", f"--wsrep-node-address={node.address}"),
            *(f"--wsrep-cluster-address=gcomm://{members}", "--wsrep-sst-method=rsync"),
            f"--wsrep-sst-receive-address={node.address}:{TRANSFER_PORT}",
            "--wsrep-provider-options="
            + ";".join(f"{name}={value}" for name, value in provider.items()),
            *self.args,
        ]

    async def ready(self, node: Node) -> None:
        """Wait until the server is synchronized with a quorum, and has its tables."""
        import pymysql

        loop = asyncio.get_running_loop()
        until = loop.time() + READY_WITHIN_S
        while True:
            try:
                await loop.run_in_executor(self.threads, self._prepare, node.address)
                return
            except (pymysql.MySQLError, OSError) as error:
                if loop.time() > until:
                    raise SetupError(
                        f"MariaDB on {node.name} did not serve in {READY_WITHIN_S:g} s: {error}"
                    ) from error
            await asyncio.sleep(0.3)

    @staticmethod
    def _prepare(address: str) -> None:
        connection: Any = connect(address, timeout_s=5.0, database="")
        try:
            GaleraClient.make_tables(connection)
        finally:
            connection.close()

    async def teardown(self, node: Node) -> None:
        """Remove its data."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        await node.wipe(DATA)

    async def primaries(self, nodes: Sequence[Node]) -> list[str]:
        """No server leads."""
        return []

    def client(self) -> GaleraClient:
        """A client for one process."""
        return CLIENTS[self.objects](self)
