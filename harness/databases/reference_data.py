"""The reference cluster's clients on the data role: everything is a transaction over partitions.

What a workload calls a register, a list, a set, a counter, a log, a bank or a transaction is here
a transaction of the node's coordinator (``cluster.data.transaction_commands``) at the isolation
level that the database's option says. What is known beforehand goes in one request (``txn-run``).
What must look before it writes (a transfer, a compare-and-set, an increment) is interactive: begin,
read, write, commit, all at one node.

Outcomes. Until the commit was sent, nothing has happened: every error before is ``fail``.
A commit without an answer is ``info``, unless the transaction only read.

The keys that clients have used lately are kept: a nemesis that splits ranges asks for them.

Made by :class:`harness.databases.reference.ReferenceClient` for nodes of role ``data``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness.databases.base import Invocation, Outcome
from harness.databases.reference_clients import Objects, ended

if TYPE_CHECKING:
    from cluster.client.session import Complete

#: isolation levels of a transaction, the strictest first (``cluster.data.isolation_levels``)
ISOLATION = ("strict-serializable", "snapshot-isolation", "read-committed")
#: schemes of partitions, as users say them
SCHEMES = ("fixed", "range")
#: how many of the keys used lately are remembered
KEYS_KEPT = 200
#: the elements of a scanned set are keys from the first up to the second
ELEMENTS = ("e", "f")
#: tries of a transaction that others keep from committing
TRIES_MAX = 5
#: what the server says when two transactions met
CONFLICTS = ("conflict", "has changed since", "has a version above", "gives way", "taken for an")


def cut_points(partitions: int) -> tuple[str, ...]:
    """Where the key space is cut for so many ranges: among the names that workloads use.

    Args:
        partitions: how many ranges; one more than there are cuts.
    """
    letters = (ELEMENTS[0], "a", "k")
    names = sorted(f"{letter}{number}" for letter in letters for number in range(30))
    count = partitions - 1
    return tuple(names[(2 * each + 1) * len(names) // (2 * count)] for each in range(count))


class NotDone(Exception):
    """A step before the commit failed, so that nothing has happened; the text says why."""


class Steps:
    """One interactive transaction.

    Args:
        client: whose session is used.
    """

    def __init__(self, client: DataObjects) -> None:
        self._client = client
        self._txn = self._node = ""

    async def begin(self) -> None:
        """Begin at the node that the session asks."""
        done = await self._client.ask("txn-begin", "", self._client.options)
        if done.status != "ok":
            raise NotDone(done.error)
        self._txn, self._node = done.value["txn"], done.node

    async def read(self, key: str) -> Any:
        """The value of a key."""
        return await self._step("txn-read", key)

    async def write(self, key: str, value: Any) -> None:
        """Put a value in place of a key's."""
        self._client.noticed(key)
        await self._step("txn-write", key, value)

    async def _step(self, op: str, *args: Any) -> Any:
        done = await self._client.ask(op, self._txn, *args, node=self._node)
        if done.status != "ok":
            await self.abort()
            raise NotDone(done.error)
        return done.value

    async def abort(self) -> None:
        """Give it up."""
        await self._client.ask("txn-abort", self._txn, node=self._node)

    async def commit(self) -> Complete:
        """Commit; the outcome is the transaction's."""
        return await self._client.ask("txn-commit", self._txn, node=self._node)


class DataObjects(Objects):
    """Operations that are transactions."""

    @property
    def options(self) -> dict[str, Any]:
        """What each transaction is asked with."""
        return {"isolation": self._db.isolation}

    def noticed(self, key: str) -> None:
        """A key is used; the oldest is forgotten when there are many."""
        seen = self._db.keys_seen
        seen[key] = None
        if len(seen) > KEYS_KEPT:
            del seen[next(iter(seen))]

    async def ask(self, op: str, key: str, *args: Any, node: str = "") -> Complete:
        """Send one command, to a node or to the one that the session knows."""
        from cluster.wire import Command

        command = Command(op, key, args)
        return await self._session.call(command, mode="linearizable", node=node)

    async def run(self, operations: Sequence[Sequence[Any]], **options: Any) -> Complete:
        """A whole transaction in one request, with options of its own; again if others were in the
        way."""
        for kind, key, _ in operations:
            if kind != "scan":
                self.noticed(key)
        for left in range(TRIES_MAX, 0, -1):
            done = await self.ask("txn-run", "", list(operations), {**self.options, **options})
            if done.status != "fail" or left == 1 or not is_conflict(done.error):
                return done
        raise AssertionError("the last try is the answer")

    async def done(
        self, op: Invocation, operations: Sequence[Sequence[Any]], output_of: Callable[[Any], Any]
    ) -> Outcome:
        """A whole transaction as an operation.

        Args:
            op: the operation.
            operations: of the transaction.
            output_of: the operation's value, from the operations with their reads filled in.
        """
        done = await self.run(operations)
        if done.status == "ok":
            return op.ok(output_of(done.value))
        if all(kind in ("r", "scan") for kind, _, _ in operations):
            return op.fail(done.error)  # it has changed nothing, whatever became of it
        return ended(op, done)

    async def interactive(
        self, op: Invocation, steps: Callable[[Steps], Any]
    ) -> tuple[Outcome | None, Any]:
        """Steps at one node, then the commit; again if others were in the way.

        Args:
            op: the operation.
            steps: the reads and writes; its return value is the output. It raises
                NotDone for an operation that is to fail.

        Returns:
            How it ended, None for committed, and what the steps returned.
        """
        for left in range(TRIES_MAX, 0, -1):
            transaction = Steps(self)
            try:
                await transaction.begin()
                found = await steps(transaction)
            except NotDone as why:
                return op.fail(str(why)), None
            done = await transaction.commit()
            if done.status == "ok":
                return None, found
            if done.status != "fail" or left == 1 or not is_conflict(done.error):
                return ended(op, done), None
        raise AssertionError("the last try is the answer")


def is_conflict(error: str) -> bool:
    """Whether a transaction failed for another's sake, and may be tried once more."""
    return any(words in error for words in CONFLICTS)


class Singles(DataObjects):
    """Single registers, lists, sets, counters, identifiers and logs, a transaction each."""

    #: what an absent object reads as
    absent: Any = None

    async def invoke(self, op: Invocation) -> Outcome:
        """Do one operation."""
        outcome: Outcome = await getattr(self, f"_{op.f}")(op, str(op.key))
        return outcome

    async def _read(self, op: Invocation, key: str) -> Outcome:
        def output_of(done: Any) -> Any:
            return self.absent if done[0][2] is None else done[0][2]

        return await self.done(op, [["r", key, None]], output_of)

    async def _written(self, op: Invocation, kind: str, key: str, value: Any) -> Outcome:
        return await self.done(op, [[kind, key, value]], lambda done: op.value)

    async def _changed(
        self, op: Invocation, key: str, change: Callable[[Any], Any]
    ) -> tuple[Outcome | None, Any]:
        """Read a value and write what becomes of it; that value."""

        async def steps(transaction: Steps) -> Any:
            value = change(await transaction.read(key))
            await transaction.write(key, value)
            return value

        return await self.interactive(op, steps)

    async def _added(self, op: Invocation, key: str) -> tuple[Outcome | None, Any]:
        amount = 1 if op.value is None else op.value
        return await self._changed(op, key, lambda old: (old or 0) + amount)


class DataRegisters(Singles):
    """Registers: read, write, compare and set, append, increment, delete."""

    operations = frozenset({"read", "write", "cas", "append", "incr", "delete"})

    async def _write(self, op: Invocation, key: str) -> Outcome:
        return await self._written(op, "w", key, op.value)

    async def _delete(self, op: Invocation, key: str) -> Outcome:
        return await self._written(op, "w", key, None)

    async def _append(self, op: Invocation, key: str) -> Outcome:
        return await self._written(op, "append", key, op.value)

    async def _incr(self, op: Invocation, key: str) -> Outcome:
        outcome, value = await self._added(op, key)
        return outcome or op.ok(value)

    async def _cas(self, op: Invocation, key: str) -> Outcome:
        expected, new = op.value

        def change(old: Any) -> Any:
            if old != expected:
                raise NotDone(f"the value is {old!r}")
            return new

        outcome, _ = await self._changed(op, key, change)
        return outcome or op.ok()


class DataLists(Singles):
    """Lists, and sets that are lists."""

    operations = frozenset({"read", "append", "add"})
    absent = ()

    async def _read(self, op: Invocation, key: str) -> Outcome:
        return await self.done(op, [["r", key, None]], lambda done: done[0][2] or [])

    async def _append(self, op: Invocation, key: str) -> Outcome:
        return await self._written(op, "append", key, op.value)

    _add = _append


class DataCounters(Singles):
    """Counters, and identifiers that are given out."""

    operations = frozenset({"read", "add", "generate", "inc"})
    absent = 0

    async def _add(self, op: Invocation, key: str) -> Outcome:
        outcome, _ = await self._added(op, key)
        return outcome or op.ok()

    async def _generate(self, op: Invocation, key: str) -> Outcome:
        outcome, value = await self._added(op, key)
        return outcome or op.ok(value)

    _inc = _generate


class DataLogs(Singles):
    """Logs, as in Kafka: an append gets its offset by a read in the same transaction."""

    operations = frozenset({"send", "poll", "assign"})

    async def _send(self, op: Invocation, key: str) -> Outcome:
        sent = [["append", key, op.value], ["r", key, None]]
        return await self.done(op, sent, lambda done: len(done[1][2]) - 1)

    async def _poll(self, op: Invocation, key: str) -> Outcome:
        def output_of(done: Any) -> Any:
            pairs = enumerate(done[0][2] or [])
            return [[offset, each] for offset, each in pairs if offset >= op.value["from"]]

        return await self.done(op, [["r", key, None]], output_of)

    async def _assign(self, op: Invocation, key: str) -> Outcome:
        return op.ok()


class DataQueues(Singles):
    """Queues that are lists, whose first element is taken."""

    operations = frozenset({"enqueue", "dequeue", "drain"})

    async def _enqueue(self, op: Invocation, key: str) -> Outcome:
        return await self._written(op, "append", key, op.value)

    async def _dequeue(self, op: Invocation, key: str) -> Outcome:
        async def steps(transaction: Steps) -> Any:
            items = await transaction.read(key) or []
            if items:
                await transaction.write(key, items[1:])
            return items[0] if items else None

        outcome, first = await self.interactive(op, steps)
        return outcome or op.ok(first)

    async def _drain(self, op: Invocation, key: str) -> Outcome:
        async def steps(transaction: Steps) -> Any:
            items = await transaction.read(key) or []
            if items:
                await transaction.write(key, [])
            return items

        outcome, items = await self.interactive(op, steps)
        return outcome or op.ok(items)


class DataTransactions(DataObjects):
    """Transactions over lists (``append``), registers (``w``), and ranges of keys (``rp``)."""

    operations = frozenset({"txn"})

    async def invoke(self, op: Invocation) -> Outcome:
        """Do one transaction."""
        asked = [
            ["scan", _bounds(key), None] if f == "rp" else [f, str(key), value]
            for f, key, value in op.value
        ]

        def output_of(done: Any) -> Any:
            return [
                [f, key, _found(f, key, value, answer[2])]
                for (f, key, value), answer in zip(op.value, done, strict=True)
            ]

        return await self.done(op, asked, output_of)


def _bounds(predicate: dict[str, Any]) -> list[str]:
    """The range of keys that has those of a predicate, whose upper end is one of them."""
    low, high = predicate["keys"]
    return [low, f"{high}~"]


def _found(f: str, key: Any, value: Any, answer: Any) -> Any:
    """What a micro-operation of a history says: what was written, or what was found."""
    if f == "rp":
        return [row for row in answer if row[0] <= key["keys"][1]]
    return answer if f == "r" else value


class ScannedSet(DataObjects):
    """A set whose elements are keys of their own, and which is read by one scan over them all."""

    operations = frozenset({"add", "read"})

    async def invoke(self, op: Invocation) -> Outcome:
        """Do one operation."""
        if op.f == "read":
            return await self.done(op, [["scan", list(ELEMENTS), None]], _elements)
        return await self.done(op, [["w", element_key(op.value), op.value]], lambda done: op.value)


def element_key(element: Any) -> str:
    """The key of an element. Neighbours in time are far apart in the order of keys."""
    return f"{ELEMENTS[0]}{str(element)[::-1]}"


def _elements(done: Any) -> list[Any]:
    rows = done[0][2]
    keys = [key for key, _ in rows]
    assert keys == sorted(keys), f"a scan gives {keys}, which are not in order"
    return [value for _, value in rows]


class DataOwned(DataObjects):
    """Acts on keys, each of which says who carried it out: the group, and under which epoch.

    A key's acts are a list that moves with its partition; the number of an act is its place there.
    """

    operations = frozenset({"act"})

    async def _act(self, op: Invocation) -> Outcome:
        key = str(op.key)
        done = await self.run([["append", key, op.process], ["r", key, None]], owners=True)
        if done.status != "ok":
            return ended(op, done)
        ((_, partition, epoch, group),) = done.value["owners"]
        count = len(done.value["operations"][1][2])
        return op.ok({"partition": partition, "epoch": epoch, "group": group, "count": count})


class DataBank(DataObjects):
    """Accounts that are opened once, read together by a scan, and changed two at a time."""

    operations = frozenset({"open", "transfer", "read"})

    async def _open(self, op: Invocation) -> Outcome:
        async def steps(transaction: Steps) -> None:
            for name in sorted(op.value):
                if await transaction.read(name) is None:
                    await transaction.write(name, op.value[name])

        outcome, _ = await self.interactive(op, steps)
        return outcome or op.ok(op.value)

    async def _read(self, op: Invocation) -> Outcome:
        return await self.done(op, [["scan", ["a", "b"], None]], lambda done: dict(done[0][2]))

    async def _transfer(self, op: Invocation) -> Outcome:
        source, target, amount = op.value["from"], op.value["to"], op.value["amount"]

        async def steps(transaction: Steps) -> None:
            old, other = await transaction.read(source), await transaction.read(target)
            if old is None or other is None or old < amount:
                await transaction.abort()
                raise NotDone(f"the balance of {source} is {old}")
            await transaction.write(source, old - amount)
            await transaction.write(target, other + amount)

        outcome, _ = await self.interactive(op, steps)
        return outcome or op.ok(op.value)


#: kind of objects -> its client on the data role
DATA_CLIENTS: dict[str, type[DataObjects]] = {
    "register": DataRegisters,
    "list": DataLists,
    "set": DataLists,
    "scanned-set": ScannedSet,
    "counter": DataCounters,
    "monotonic": DataCounters,
    "ids": DataCounters,
    "log": DataLogs,
    "queue": DataQueues,
    "txn-list": DataTransactions,
    "txn-register": DataTransactions,
    "txn-predicates": DataTransactions,
    "bank": DataBank,
    "owned": DataOwned,
}
