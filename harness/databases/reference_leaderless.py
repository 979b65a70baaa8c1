"""The reference cluster's clients in role ``leaderless``: siblings, sets and counters that merge.

- siblings: a store carries the context of the client's last read of the key, and so replaces what
  that returned; a client that has read nothing reads first. What it replaced is part of the
  operation's value, whatever its outcome, for the checker to know;
- sets and counters: the types that merge by themselves;
- registers: where the last writer wins, plain puts and gets. There is no compare-and-set;
- siblings where the last writer wins: the same operations, of a store that keeps one value. Each
  store says which stamp it got, so the report can say why it won or lost.

Each operation asks a quorum or one node, as the option ``consistency`` says.

Made by :class:`harness.databases.reference.Reference`.
"""

from __future__ import annotations

from typing import Any

from harness.databases.base import Invocation, Outcome
from harness.databases.reference_clients import Objects, Session, Settings, ended
from harness.errors import UsageError, nearest

VERSIONS = ("dotted", "lww-hybrid", "lww-lamport", "lww-wall")
CONSISTENCY = ("quorum", "one")


class LeaderlessObjects(Objects):
    """Commands of role ``leaderless``.

    Args:
        db: the database's options; its ``read_mode`` is ``quorum`` or ``one``.
        session: how to speak to the cluster.
    """

    async def _ask(self, op: str, key: Any, *args: Any) -> Any:
        return await self._call(op, str(key), *args, mode=self._db.read_mode)


class Siblings(LeaderlessObjects):
    """Elements stored over those that were read."""

    operations = frozenset({"store", "erase", "read"})

    def __init__(self, db: Settings, session: Session) -> None:
        super().__init__(db, session)
        #: key -> (what was read of it last, the context that came with it)
        self._read_last: dict[str, tuple[list[Any], str]] = {}

    async def _read(self, op: Invocation) -> Outcome:
        done = await self._ask("get", op.key)
        if done.status != "ok":
            return op.fail(done.error)
        return op.ok(self._remember(op, done.value))

    def _remember(self, op: Invocation, answer: Any) -> list[Any]:
        values = list(answer["values"])
        self._read_last[str(op.key)] = (values, answer["context"])
        return values

    async def _store(self, op: Invocation) -> Outcome:
        return await self._write(op, "put", op.value)

    async def _erase(self, op: Invocation) -> Outcome:
        return await self._write(op, "delete")

    async def _write(self, op: Invocation, command: str, *args: Any) -> Outcome:
        if str(op.key) not in self._read_last:
            found = await self._ask("get", op.key)
            if found.status != "ok":
                return op.fail(found.error)
            self._remember(op, found.value)
        over, context = self._read_last.pop(str(op.key))
        done = await self._ask(command, op.key, *args, context)
        output: dict[str, Any] = {"over": over}
        if args:
            output = {"value": op.value, **output}
        if done.status == "ok":
            return op.ok(output)
        if done.status == "fail":
            return op.fail(done.error)
        return Outcome("info", output, done.error)


class OneSibling(LeaderlessObjects):
    """Elements stored over those that were read, in a store that keeps the highest stamp."""

    operations = frozenset({"store", "read"})

    def __init__(self, db: Settings, session: Session) -> None:
        super().__init__(db, session)
        #: key -> what was read of it last
        self._read_last: dict[str, list[Any]] = {}

    async def _read(self, op: Invocation) -> Outcome:
        done = await self._ask("get", op.key)
        return op.ok(self._remember(op, done.value)) if done.status == "ok" else op.fail(done.error)

    def _remember(self, op: Invocation, value: Any) -> list[Any]:
        self._read_last[str(op.key)] = found = [] if value is None else [value]
        return found

    async def _store(self, op: Invocation) -> Outcome:
        if str(op.key) not in self._read_last:
            found = await self._ask("get", op.key)
            if found.status != "ok":
                return op.fail(found.error)
            self._remember(op, found.value)
        output: dict[str, Any] = {"value": op.value, "over": self._read_last.pop(str(op.key))}
        done = await self._ask("put", op.key, op.value)
        if done.status == "ok":
            return op.ok({**output, "stamp": done.value} if done.value else output)
        return op.fail(done.error) if done.status == "fail" else Outcome("info", output, done.error)


class MergingSet(LeaderlessObjects):
    """A set that merges by itself."""

    operations = frozenset({"add", "remove", "read"})

    async def _read(self, op: Invocation) -> Outcome:
        done = await self._ask("set-read", op.key)
        return op.ok(done.value) if done.status == "ok" else op.fail(done.error)

    async def _add(self, op: Invocation) -> Outcome:
        done = await self._ask("set-add", op.key, op.value)
        return op.ok() if done.status == "ok" else ended(op, done)

    async def _remove(self, op: Invocation) -> Outcome:
        done = await self._ask("set-remove", op.key, op.value)
        return op.ok() if done.status == "ok" else ended(op, done)


class MergingCounter(LeaderlessObjects):
    """A counter that merges by itself."""

    operations = frozenset({"add", "read"})

    async def _read(self, op: Invocation) -> Outcome:
        done = await self._ask("counter-read", op.key)
        return op.ok(done.value) if done.status == "ok" else op.fail(done.error)

    async def _add(self, op: Invocation) -> Outcome:
        amount = 1 if op.value is None else op.value
        done = await self._ask("counter-incr", op.key, amount)
        return op.ok() if done.status == "ok" else ended(op, done)


class LastWriterRegister(LeaderlessObjects):
    """A value of which the last one written is kept."""

    operations = frozenset({"read", "write", "delete"})

    async def _read(self, op: Invocation) -> Outcome:
        done = await self._ask("get", op.key)
        return op.ok(done.value) if done.status == "ok" else op.fail(done.error)

    async def _write(self, op: Invocation) -> Outcome:
        done = await self._ask("put", op.key, op.value)
        return op.ok() if done.status == "ok" else ended(op, done)

    async def _delete(self, op: Invocation) -> Outcome:
        done = await self._ask("delete", op.key)
        return op.ok() if done.status == "ok" else ended(op, done)


#: kinds of objects that nodes of role ``leaderless`` have, and no others
OF_LEADERLESS = ("siblings",)
#: kind of objects -> its client, by how versions are ordered
DOTTED: dict[str, type[Objects]] = {
    "siblings": Siblings,
    "set": MergingSet,
    "counter": MergingCounter,
}
LAST_WRITER: dict[str, type[Objects]] = {"register": LastWriterRegister, "siblings": OneSibling}


def clients_of(versions: str) -> dict[str, type[Objects]]:
    """The clients of a store that orders versions so."""
    return DOTTED if versions == "dotted" else LAST_WRITER


def check_options(*, versions: str, consistency: str, consensus: str, read_mode: str) -> None:
    """Refuse options that make no sense with role ``leaderless``.

    Raises:
        UsageError: one of them.
    """
    if versions not in VERSIONS:
        raise nearest("versions", versions, VERSIONS)
    if consistency not in CONSISTENCY:
        raise nearest("consistency", consistency, CONSISTENCY)
    if consensus != "raft":
        raise UsageError(
            f"consensus is {consensus!r}, and role leaderless has no log to agree on; leave it out"
        )
    if read_mode != "linearizable":
        raise UsageError(
            f"read_mode is {read_mode!r}; role leaderless has the option consistency instead: "
            f"{' or '.join(CONSISTENCY)}"
        )
