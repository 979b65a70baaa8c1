"""Clients of MariaDB with Galera, one per kind of objects, each with a connection of its own.

PyMySQL blocks, so every transaction runs in a thread. A server that certifies against a transaction
says so with a deadlock, before or at the commit: ``fail``. Any other error at the commit, and a
connection lost then, leaves it open: ``info``. Before the commit was sent every error is ``fail``,
since the server drops what was not committed.

Made by :class:`harness.databases.galera.Galera`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Protocol

import msgspec

from harness.databases.base import Invocation, Outcome
from harness.environments.base import Node
from harness.errors import UsageError

PORT, DATABASE = 3306, "splitbrain"
LEVELS = ("read-committed", "repeatable-read", "serializable")
#: error numbers by which a server definitely refuses a commit: a deadlock, which is how a failed
#: certification is reported
_REFUSED_AT_COMMIT = frozenset({1213})
_TABLES = (
    "create database if not exists splitbrain",
    "create table if not exists splitbrain.registers (k varchar(64) primary key, v text)",
    "create table if not exists splitbrain.lists (k varchar(64) primary key, v mediumtext)",
    "create table if not exists splitbrain.elements (k varchar(64), e bigint, primary key (k, e))",
    "create table if not exists splitbrain.accounts "
    "(k varchar(64) primary key, balance bigint not null)",
)


def connect(address: str, *, timeout_s: float, database: str = DATABASE) -> Any:
    """A connection.

    Raises:
        pymysql.err.OperationalError: there is none.
    """
    import pymysql

    return pymysql.connect(
        host=address,
        port=PORT,
        user="splitbrain",
        database=database or None,
        autocommit=True,
        connect_timeout=max(1, round(timeout_s)),
        read_timeout=timeout_s,
        write_timeout=timeout_s,
    )


class Settings(Protocol):
    """The interface of the database to its clients."""

    threads: ThreadPoolExecutor
    op_timeout_s: float
    isolation: str
    sync_wait: int
    think_ms: float


class Refused(Exception):
    """The client decided that the transaction shall not happen."""


class GaleraClient:
    """Runs a transaction per operation; base of the others."""

    operations: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, db: Settings) -> None:
        self._db = db
        self._node: Node | None = None
        self._connection: Any = None
        self._committing = False

    @staticmethod
    def make_tables(connection: Any) -> None:
        """Make what is not there yet."""
        with connection.cursor() as cursor:
            for statement in _TABLES:
                cursor.execute(statement)

    async def _threaded(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._db.threads, call)

    async def open(self, node: Node) -> None:
        """Connect; a connection that was lost is replaced by the next operation."""
        await self.close()
        self._node = node
        await self._threaded(self._connect)

    def _connect(self) -> None:
        assert self._node is not None, "open() comes before invoke()"
        connection = connect(self._node.address, timeout_s=self._db.op_timeout_s * 0.8)
        level = self._db.isolation.replace("-", " ")
        with connection.cursor() as cursor:
            cursor.execute(f"set session transaction isolation level {level}")
            cursor.execute(f"set session wsrep_sync_wait = {self._db.sync_wait}")
        self._connection = connection

    async def invoke(self, op: Invocation) -> Outcome:
        """One transaction."""
        if op.f not in self.operations:
            raise UsageError(f"the galera client has no operation {op.f!r} on these objects")
        outcome: Outcome = await self._threaded(lambda: self._guarded(op))
        return outcome

    def _guarded(self, op: Invocation) -> Outcome:
        import pymysql

        self._committing = False
        try:
            if self._connection is None:
                self._connect()
            return op.ok(self._transaction(op))
        except Refused as refused:
            return op.fail(str(refused))
        except (pymysql.err.Error, OSError) as error:
            code = error.args[0] if error.args else 0
            self._hang_up()  # whatever it was in the middle of
            text = f"{type(error).__name__} {error}"[:300]
            sure = not self._committing or code in _REFUSED_AT_COMMIT or op.f in self.reads
            return op.fail(text) if sure else op.info(text)

    def _transaction(self, op: Invocation) -> Any:
        self._sql("start transaction")
        try:
            result = getattr(self, f"_{op.f}")(op)
        except Refused:
            self._sql("rollback")
            raise
        self._committing = True
        self._sql("commit")
        return result

    def _sql(self, text: str, *arguments: Any) -> Any:
        """Rows of a query, or how many rows a statement changed."""
        if self._db.think_ms:
            time.sleep(self._db.think_ms / 1000)
        with self._connection.cursor() as cursor:
            changed = cursor.execute(text, arguments or None)
            return cursor.fetchall() if cursor.description else changed

    async def close(self) -> None:
        """Hang up at once, whatever the server is doing."""
        self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection._force_close()


def encoded(value: Any) -> str:
    """A value as a column holds it; equal values are equal there."""
    return msgspec.json.encode(value).decode()


class RegisterTxnClient(GaleraClient):
    """Transactions over registers; base of those over lists."""

    operations = frozenset({"txn"})
    #: the operation that changes a key; any other reads it
    changes: ClassVar[str] = "w"

    def _txn(self, op: Invocation) -> list[list[Any]]:
        done = []
        for f, key, value in op.value:
            if f == self.changes:
                self._put(key, value)
                done.append([f, key, value])
            else:
                done.append([f, key, self._get(key)])
        return done

    def _put(self, key: str, value: Any) -> None:
        self._sql(
            "insert into registers values (%s, %s) on duplicate key update v = values(v)",
            *(key, encoded(value)),
        )

    def _get(self, key: str) -> Any:
        rows = self._sql("select v from registers where k = %s", key)
        return msgspec.json.decode(rows[0][0].encode()) if rows else None


class ListClient(RegisterTxnClient):
    """Transactions over lists: a list is a row of text, appended to in place."""

    changes = "append"

    def _put(self, key: str, value: Any) -> None:
        self._sql(
            "insert into lists values (%s, %s) "
            "on duplicate key update v = concat(v, ',', values(v))",
            *(key, encoded(value)),
        )

    def _get(self, key: str) -> Any:
        rows = self._sql("select v from lists where k = %s", key)
        text = rows[0][0] if rows else ""
        return msgspec.json.decode(f"[{text}]".encode())


class BankClient(GaleraClient):
    """Accounts, read one by one and written with what was computed here, as programs do."""

    operations = frozenset({"open", "read", "transfer"})
    reads = frozenset({"read"})

    def _open(self, op: Invocation) -> dict[str, int]:
        balances: dict[str, int] = op.value
        for account, balance in balances.items():
            self._sql("insert ignore into accounts values (%s, %s)", account, balance)
        return balances

    def _read(self, _: Invocation) -> dict[str, int]:
        names = [row[0] for row in self._sql("select k from accounts order by k")]
        return {name: self._balance(name) for name in names}

    def _transfer(self, op: Invocation) -> dict[str, Any]:
        value: dict[str, Any] = op.value
        source = self._balance(value["from"]) - value["amount"]
        target = self._balance(value["to"]) + value["amount"]
        if source < 0:
            raise Refused("the balance is too small")
        for account, balance in ((value["from"], source), (value["to"], target)):
            self._sql("update accounts set balance = %s where k = %s", balance, account)
        return value

    def _balance(self, account: str) -> int:
        rows = self._sql("select balance from accounts where k = %s", account)
        if not rows:
            raise Refused("the accounts are not open yet")
        return int(rows[0][0])


class RegisterClient(RegisterTxnClient):
    """Single registers: the same rows, one at a time."""

    operations = frozenset({"read", "write", "cas"})
    reads = frozenset({"read"})

    def _read(self, op: Invocation) -> Any:
        return self._get(str(op.key))

    def _write(self, op: Invocation) -> Any:
        self._put(str(op.key), op.value)
        return op.value

    def _cas(self, op: Invocation) -> Any:
        old, new = op.value
        if old is None:
            changed = self._sql(
                "insert ignore into registers values (%s, %s)", str(op.key), encoded(new)
            )
        else:
            changed = self._sql(
                "update registers set v = %s where k = %s and v = %s",
                *(encoded(new), str(op.key), encoded(old)),
            )
        if not changed:
            raise Refused("the value is another")
        return op.value


class SetClient(GaleraClient):
    """Sets: a row per element."""

    operations = frozenset({"read", "add"})
    reads = frozenset({"read"})

    def _read(self, op: Invocation) -> list[int]:
        return [int(row[0]) for row in self._sql("select e from elements where k = %s", op.key)]

    def _add(self, op: Invocation) -> Any:
        self._sql("insert into elements values (%s, %s)", op.key, op.value)
        return op.value


#: kind of objects -> its client
CLIENTS: dict[str, type[GaleraClient]] = {
    "register": RegisterClient,
    "set": SetClient,
    "txn-list": ListClient,
    "txn-register": RegisterTxnClient,
    "bank": BankClient,
}
