"""ZooKeeper's clients, one per kind of objects, each with a session of its own at one server.

kazoo blocks, so every operation runs in a thread. A request that met a lost connection or no answer
may have happened: ``info``, or ``fail`` if it only reads. What the server refused (no such node, a
version that is another) is ``fail``.

- registers: a znode each; compare-and-set by its version;
- sets: a child per element;
- queues: children in sequence; who deletes the first one has it;
- locks: ephemeral children in sequence; the first one holds the lock, its creation transaction is
  the fencing token. Whether the session still lives is not asked again before a write: that is
  what fencing is for.

Made by :class:`harness.databases.zookeeper.ZooKeeper`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Protocol

import msgspec

from harness.databases.base import Invocation, Outcome
from harness.databases.locks import fenced_write
from harness.environments.base import Node
from harness.errors import UsageError
from workloads.lock import FencedResource

CLIENT_PORT = 2181
_TRIES_MAX = 20
_POLL_S = 0.03


class Settings(Protocol):
    """The interface of the database to its clients."""

    session_s: float
    op_timeout_s: float
    read_mode: str
    threads: ThreadPoolExecutor
    resource: FencedResource


class Unsent(Exception):
    """Nothing that changes anything was sent."""


class ZooKeeperClient:
    """One session; base of the others."""

    operations: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[frozenset[str]] = frozenset({"read"})

    def __init__(self, db: Settings) -> None:
        self._db = db
        self._zk: Any = None

    async def open(self, node: Node) -> None:
        """Begin a session at this server; raises if there is none to be had."""
        from kazoo.client import KazooClient

        await self.close()
        hosts = f"{node.address}:{CLIENT_PORT}"
        zk = KazooClient(hosts=hosts, timeout=self._db.session_s, logger=_silent())
        try:
            await self._threaded(lambda: zk.start(timeout=self._db.op_timeout_s))
            await self._threaded(lambda: zk.ensure_path("/splitbrain"))
        except BaseException:  # a cancellation too: its threads end before it is raised
            await self._threaded(lambda: _stop(zk))
            raise
        self._zk = zk

    async def _threaded(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._db.threads, call)

    async def invoke(self, op: Invocation) -> Outcome:
        """One operation."""
        if op.f not in self.operations:
            raise UsageError(f"the zookeeper client has no operation {op.f!r} on these objects")
        if self._zk is None or not self._zk.connected:
            return op.fail("the session has no connection")
        outcome: Outcome = await self._threaded(lambda: self._guarded(op))
        return outcome

    def _guarded(self, op: Invocation) -> Outcome:
        from kazoo.exceptions import KazooException
        from kazoo.handlers.threading import KazooTimeoutError

        try:
            outcome: Outcome = getattr(self, f"_{op.f}")(op)
            return outcome
        except Unsent as error:
            return op.fail(str(error))
        except (KazooException, KazooTimeoutError) as error:
            text = f"{type(error).__name__} {error}".strip()
            return op.fail(text) if op.f in self.reads else op.info(text)

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        """One request, waited for as long as an operation may take."""
        pending = getattr(self._zk, f"{name}_async")(*args, **options)
        return pending.get(timeout=self._db.op_timeout_s)

    def _before(self, name: str, *args: Any) -> Any:
        """A request that only reads, before anything was changed."""
        from kazoo.exceptions import KazooException, NoNodeError
        from kazoo.handlers.threading import KazooTimeoutError

        try:
            return self._call(name, *args)
        except NoNodeError:
            raise
        except (KazooException, KazooTimeoutError) as error:
            raise Unsent(f"{type(error).__name__} before anything was changed") from error

    def _caught_up(self) -> None:
        """The request before a read; see the database's text."""
        if self._db.read_mode == "sync":
            self._before("sync", "/splitbrain")
        elif self._db.read_mode == "write":
            self._before("set", "/splitbrain", b"")

    def _parent(self, op: Invocation) -> str:
        """The node below which a key's children are, made if it is not there."""
        from kazoo.exceptions import NodeExistsError

        path = f"/splitbrain/{op.key}"
        if self._before("exists", path) is None:
            with contextlib.suppress(NodeExistsError):
                self._call("create", path)
        return path

    def _children(self, path: str) -> list[str]:
        from kazoo.exceptions import NoNodeError

        try:
            return sorted(self._before("get_children", path))
        except NoNodeError:
            return []

    async def close(self) -> None:
        """End the session."""
        zk, self._zk = self._zk, None
        if zk is not None:
            await self._threaded(lambda: _stop(zk))


def _stop(zk: Any) -> None:
    """End a session without waiting for a server that does not answer."""
    with contextlib.suppress(Exception):
        zk.stop()
    with contextlib.suppress(Exception):
        zk.close()


def _silent() -> Any:
    import logging

    logger = logging.getLogger("harness.databases.zookeeper.kazoo")
    logger.setLevel(logging.CRITICAL)
    return logger


class RegisterClient(ZooKeeperClient):
    """Registers."""

    operations = frozenset({"read", "write", "cas"})

    def _read(self, op: Invocation) -> Outcome:
        from kazoo.exceptions import NoNodeError

        self._caught_up()
        try:
            raw, _ = self._call("get", f"/splitbrain/{op.key}")
        except NoNodeError:
            return op.ok(None)
        return op.ok(msgspec.json.decode(raw))

    def _write(self, op: Invocation) -> Outcome:
        from kazoo.exceptions import NodeExistsError, NoNodeError

        path, raw = f"/splitbrain/{op.key}", msgspec.json.encode(op.value)
        try:
            self._call("set", path, raw)
        except NoNodeError:
            try:
                self._call("create", path, raw)
            except NodeExistsError:
                self._call("set", path, raw)
        return op.ok()

    def _cas(self, op: Invocation) -> Outcome:
        from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError

        old, new = op.value
        path, raw = f"/splitbrain/{op.key}", msgspec.json.encode(new)
        try:
            held, about = self._before("get", path)
            if old is None or msgspec.json.decode(held) != old:
                return op.fail("the value is another")
            self._call("set", path, raw, about.version)
        except NoNodeError:
            if old is not None:
                return op.fail("there is no value")
            try:
                self._call("create", path, raw)
            except NodeExistsError:
                return op.fail("there is a value")
        except BadVersionError:
            return op.fail("the version is another")
        return op.ok()


class SetClient(ZooKeeperClient):
    """Sets."""

    operations = frozenset({"read", "add"})

    def _read(self, op: Invocation) -> Outcome:
        self._caught_up()
        return op.ok([msgspec.json.decode(n) for n in self._children(f"/splitbrain/{op.key}")])

    def _add(self, op: Invocation) -> Outcome:
        parent = self._parent(op)
        self._call("create", f"{parent}/{msgspec.json.encode(op.value).decode()}")
        return op.ok()


class QueueClient(ZooKeeperClient):
    """Queues."""

    operations = frozenset({"enqueue", "dequeue", "drain"})
    reads = frozenset()

    def _enqueue(self, op: Invocation) -> Outcome:
        parent = self._parent(op)
        self._call("create", f"{parent}/q-", msgspec.json.encode(op.value), sequence=True)
        return op.ok()

    def _dequeue(self, op: Invocation) -> Outcome:
        self._caught_up()
        for _ in range(_TRIES_MAX):
            names = self._children(f"/splitbrain/{op.key}")
            if not names:
                return op.ok(None)
            taken = self._take(f"/splitbrain/{op.key}/{names[0]}")
            if taken is not None:
                return op.ok(taken)
        return op.fail(f"others were quicker {_TRIES_MAX} times")

    def _take(self, path: str) -> Any:
        """Delete a child; its value, or None if another was quicker."""
        from kazoo.exceptions import NoNodeError

        try:
            raw, _ = self._before("get", path)
            self._call("delete", path)
        except NoNodeError:
            return None
        return msgspec.json.decode(raw)

    def _drain(self, op: Invocation) -> Outcome:
        from kazoo.exceptions import KazooException
        from kazoo.handlers.threading import KazooTimeoutError

        self._caught_up()
        drained: list[Any] = []
        while True:
            names = self._children(f"/splitbrain/{op.key}")
            if not names:
                return op.ok(drained)
            for name in names:
                try:
                    taken = self._take(f"/splitbrain/{op.key}/{name}")
                except (KazooException, KazooTimeoutError, Unsent) as error:
                    # Some values may have been taken, and which is unknown.
                    return op.info(f"while draining: {error}")
                if taken is not None:
                    drained.append(taken)


class LockClient(ZooKeeperClient):
    """The lock recipe: ephemeral children in sequence."""

    operations = frozenset({"acquire", "release", "write"})
    reads = frozenset()

    def __init__(self, db: Settings) -> None:
        super().__init__(db)
        self._held = ""

    def _acquire(self, op: Invocation) -> Outcome:
        parent = self._parent(op)
        until = time.monotonic() + self._db.op_timeout_s * 0.9
        mine = self._call("create", f"{parent}/lock-", b"", ephemeral=True, sequence=True)
        name = mine.rpartition("/")[2]
        while time.monotonic() < until:
            names = sorted(self._call("get_children", parent))
            if name not in names:
                return op.fail("the session ended while it waited for the lock")
            if names[0] == name:
                about = self._call("exists", mine)
                if about is None:
                    return op.fail("the session ended while it waited for the lock")
                self._held = mine
                return op.ok({"token": about.czxid})
            time.sleep(_POLL_S)
        self._call("delete", mine)
        return op.fail("the lock was not free in time")

    def _release(self, op: Invocation) -> Outcome:
        from kazoo.exceptions import NoNodeError

        held, self._held = self._held, ""
        if not held:
            return op.fail("this client holds no lock")
        try:
            self._call("delete", held)
        except NoNodeError:
            return op.fail("the session had ended, and the lock with it")
        return op.ok()

    def _write(self, op: Invocation) -> Outcome:
        return fenced_write(self._db.resource, op)


#: kind of objects -> its client
CLIENTS: dict[str, type[ZooKeeperClient]] = {
    "register": RegisterClient,
    "set": SetClient,
    "queue": QueueClient,
    "lock": LockClient,
}
