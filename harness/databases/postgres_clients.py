"""PostgreSQL's clients, one per kind of objects, each with a connection of its own.

A transaction that the server ends with an error (a serialization failure, a deadlock) did not
happen: ``fail``. An error while committing, or a connection lost then, leaves it open: ``info``.
Before the commit was sent a lost connection is ``fail`` too, since the server drops what was not
committed. Made by :class:`harness.databases.postgres.Postgres`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, ClassVar, Protocol

import msgspec

from harness.databases.base import Invocation, Outcome
from harness.environments.base import Node
from harness.errors import UsageError

PORT, USER = 5432, "splitbrain"
LEVELS = ("read-committed", "repeatable-read", "serializable")
_TABLES = (
    "create table if not exists registers (k text primary key, v text)",
    "create table if not exists lists (k text primary key, v text)",
    "create table if not exists accounts (k text primary key, balance bigint not null)",
)


async def connect(address: str, *, timeout_s: float) -> Any:
    """A connection in autocommit mode: transactions are begun and ended by name.

    Raises:
        psycopg.Error: there is none.
    """
    import psycopg

    return await psycopg.AsyncConnection.connect(
        host=address,
        port=PORT,
        user=USER,
        dbname="postgres",
        autocommit=True,
        connect_timeout=max(2, round(timeout_s)),
    )


class Settings(Protocol):
    """The interface of the database to its clients."""

    op_timeout_s: float
    isolation: str
    think_ms: float


class Refused(Exception):
    """The client decided that the transaction shall not happen."""


class PostgresClient:
    """Runs a transaction per operation; base of the others."""

    operations: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, db: Settings) -> None:
        self._db = db
        self._node: Node | None = None
        self._connection: Any = None
        self._committing = False

    @staticmethod
    async def make_tables(connection: Any) -> None:
        """Make what is not there yet."""
        for statement in _TABLES:
            await connection.execute(statement)

    async def open(self, node: Node) -> None:
        """Connect. A connection that was lost is replaced by the next operation."""
        await self.close()
        self._node = node
        self._connection = await connect(node.address, timeout_s=self._db.op_timeout_s)

    async def invoke(self, op: Invocation) -> Outcome:
        """One transaction."""
        import psycopg

        if op.f not in self.operations:
            raise UsageError(f"the postgres client has no operation {op.f!r} on these objects")
        self._committing = False
        try:
            async with asyncio.timeout(self._db.op_timeout_s):
                return op.ok(await self._transaction(op))
        except Refused as refused:
            return op.fail(str(refused))
        except psycopg.errors.Error as error:
            lost = self._connection is None or self._connection.closed
            if lost:
                await self.close()
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            sure = not (self._committing and lost)
            return op.fail(text) if sure else op.info(text)
        except TimeoutError:
            await self.close()
            text = f"no answer within {self._db.op_timeout_s:g} s"
            return op.info(text) if self._committing else op.fail(text)

    async def _transaction(self, op: Invocation) -> Any:
        if self._connection is None:
            assert self._node is not None, "open() comes before invoke()"
            await self.open(self._node)
        level = self._db.isolation.replace("-", " ")
        await self._sql(f"begin isolation level {level}")
        try:
            result = await getattr(self, f"_{op.f}")(op.value)
            self._committing = True
            await self._sql("commit")
        except Exception:  # of any kind: the transaction is given up, and it is raised on
            if self._connection is not None and not self._connection.closed:
                await self._sql("rollback")
            raise
        return result

    async def _sql(self, text: str, *arguments: Any) -> list[Any]:
        if self._db.think_ms:
            await asyncio.sleep(self._db.think_ms / 1000)
        cursor = await self._connection.execute(text, arguments or None)
        return await cursor.fetchall() if cursor.description else []

    async def close(self) -> None:
        """Hang up at once, whatever the server is doing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.pgconn.finish()


class RegisterClient(PostgresClient):
    """Transactions over registers; base of those over lists."""

    operations = frozenset({"txn"})
    #: the operation that changes a key; any other reads it
    changes: ClassVar[str] = "w"

    async def _txn(self, micro: list[list[Any]]) -> list[list[Any]]:
        done = []
        for f, key, value in micro:
            if f == self.changes:
                await self._put(key, value)
                done.append([f, key, value])
            else:
                done.append([f, key, await self._get(key)])
        return done

    async def _put(self, key: str, value: Any) -> None:
        await self._sql(
            "insert into registers values (%s, %s) on conflict (k) do update set v = excluded.v",
            *(key, msgspec.json.encode(value).decode()),
        )

    async def _get(self, key: str) -> Any:
        rows = await self._sql("select v from registers where k = %s", key)
        return msgspec.json.decode(rows[0][0].encode()) if rows else None


class ListClient(RegisterClient):
    """Transactions over lists: a list is a row of text, appended to in place."""

    changes = "append"

    async def _put(self, key: str, value: Any) -> None:
        await self._sql(
            "insert into lists as l values (%s, %s) "
            "on conflict (k) do update set v = l.v || ',' || excluded.v",
            *(key, msgspec.json.encode(value).decode()),
        )

    async def _get(self, key: str) -> Any:
        rows = await self._sql("select v from lists where k = %s", key)
        text = rows[0][0] if rows else ""
        return msgspec.json.decode(f"[{text}]".encode())


class BankClient(PostgresClient):
    """Accounts, read one by one and written with what was computed here, as programs do."""

    operations = frozenset({"open", "read", "transfer"})

    async def _open(self, balances: dict[str, int]) -> dict[str, int]:
        for account, balance in balances.items():
            await self._sql(
                "insert into accounts values (%s, %s) on conflict do nothing", account, balance
            )
        return balances

    async def _read(self, _: Any) -> dict[str, int]:
        names = [row[0] for row in await self._sql("select k from accounts order by k")]
        return {name: await self._balance(name) for name in names}

    async def _transfer(self, value: dict[str, Any]) -> dict[str, Any]:
        amount = value["amount"]
        source = await self._balance(value["from"]) - amount
        target = await self._balance(value["to"]) + amount
        if source < 0:
            raise Refused("the balance is too small")
        for account, balance in ((value["from"], source), (value["to"], target)):
            await self._sql("update accounts set balance = %s where k = %s", balance, account)
        return value

    async def _balance(self, account: str) -> int:
        rows = await self._sql("select balance from accounts where k = %s", account)
        return int(rows[0][0])


class PlainClient(RegisterClient):
    """Single registers: the same rows, one at a time."""

    operations = frozenset({"read", "write", "cas"})

    async def invoke(self, op: Invocation) -> Outcome:
        """The operation as a transaction; its key goes with its value."""
        carried = Invocation(op.process, op.f, op.key, (op.key, op.value))
        outcome = await super().invoke(carried)
        if outcome.type == "ok" and op.f == "read":
            return outcome
        return Outcome(outcome.type, op.value, outcome.error)

    async def _read(self, value: tuple[Any, Any]) -> Any:
        return await self._get(str(value[0]))

    async def _write(self, value: tuple[Any, Any]) -> None:
        await self._put(str(value[0]), value[1])

    async def _cas(self, value: tuple[Any, Any]) -> None:
        old, new = (
            None if each is None else msgspec.json.encode(each).decode() for each in value[1]
        )
        if old is None:
            changed = await self._sql(
                "insert into registers values (%s, %s) on conflict do nothing returning k",
                *(str(value[0]), new),
            )
        else:
            changed = await self._sql(
                "update registers set v = %s where k = %s and v = %s returning k",
                *(new, str(value[0]), old),
            )
        if not changed:
            raise Refused("the value is another")


#: kind of objects -> its client
CLIENTS: dict[str, type[PostgresClient]] = {
    "register": PlainClient,
    "txn-list": ListClient,
    "txn-register": RegisterClient,
    "bank": BankClient,
}
