"""Consul's clients, one per kind of objects, over the HTTP interface.

- registers: a key each; compare-and-set by ``cas=ModifyIndex``, with a read before it;
- lists: the whole list in one key, extended by compare-and-set;
- sets: a key per element, read by prefix;
- locks: a session that is renewed in the background and a key acquired with it, tried again until
  the time is up. Whether the session still lives is not asked before a write: that is what fencing
  is for.

A server that knows no leader proposes nothing: ``fail``. Any other error of a write, and a lost
connection, may have happened: ``info``.

Made by :class:`harness.databases.consul.Consul`.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from harness.databases.base import Invocation, Outcome
from harness.databases.http_clients import HttpDatabaseClient
from harness.databases.locks import KeepAlive, fenced_write
from harness.environments.base import Node
from harness.environments.http import HttpStatus, NotSent
from workloads.lock import FencedResource

HTTP_PORT = 8500
_TRIES_MAX = 20
_POLL_S = 0.05
#: how much of an operation's time is spent waiting for a lock
_WAITING_SHARE = 0.6
#: errors that mean that nothing was proposed
_REFUSED = ("No cluster leader", "rate limit", "Permission denied")


class Settings(Protocol):
    """The interface of the database to its clients."""

    op_timeout_s: float
    read_mode: str
    ttl_s: float
    resource: FencedResource


class ConsulClient(HttpDatabaseClient[Settings]):
    """Speaks to one server about registers; base of the other clients."""

    database, port, refusals = "consul", HTTP_PORT, _REFUSED
    operations = frozenset({"read", "write", "cas"})

    async def _get(self, key: str, *, recurse: bool = False) -> list[dict[str, Any]]:
        """The entries under a key, or under a prefix."""
        flags = [] if self._db.read_mode == "default" else [self._db.read_mode]
        flags += ["recurse"] if recurse else []
        try:
            found: list[dict[str, Any]] = await self._speaks.get(_path(key, *flags))
        except HttpStatus as error:
            if error.status == 404:
                return []
            raise
        return found

    async def _before(self, key: str) -> list[dict[str, Any]]:
        """A read before anything was written: if it fails, nothing has happened.

        Raises:
            NotSent: it failed.
        """
        try:
            return await self._get(key)
        except (HttpStatus, TimeoutError, ConnectionError) as error:
            raise NotSent(f"reading before the write: {error}") from error

    async def _put(self, key: str, value: Any, **flags: Any) -> bool:
        given = [f"{name}={flag}" for name, flag in flags.items()]
        return bool(await self._speaks.put(_path(key, *given), value))

    async def _read(self, op: Invocation) -> Outcome:
        found = await self._get(str(op.key))
        return op.ok(decode(found[0]) if found else None)

    async def _write(self, op: Invocation) -> Outcome:
        written = await self._put(str(op.key), op.value)
        return op.ok() if written else op.fail("the server refused")

    async def _cas(self, op: Invocation) -> Outcome:
        old, new = op.value
        found = await self._before(str(op.key))
        if (decode(found[0]) if found else None) != old:
            return op.fail("the value is another")
        index = found[0]["ModifyIndex"] if found else 0
        swapped = await self._put(str(op.key), new, cas=index)
        return op.ok() if swapped else op.fail("the value was changed meanwhile")


def _path(key: str, *flags: str) -> str:
    return f"/v1/kv/splitbrain/{quote(key)}" + (f"?{'&'.join(flags)}" if flags else "")


def decode(entry: dict[str, Any]) -> Any:
    """The value of a key as the interface returns it."""
    raw = entry["Value"]
    return None if raw is None else msgspec.json.decode(base64.b64decode(raw))


class ListClient(ConsulClient):
    """Append-only lists."""

    operations = frozenset({"read", "append"})

    async def _read(self, op: Invocation) -> Outcome:
        found = await self._get(str(op.key))
        return op.ok(decode(found[0]) if found else [])

    async def _append(self, op: Invocation) -> Outcome:
        key = str(op.key)
        for _ in range(_TRIES_MAX):
            found = await self._before(key)
            items = decode(found[0]) if found else []
            index = found[0]["ModifyIndex"] if found else 0
            if await self._put(key, [*items, op.value], cas=index):
                return op.ok()
        return op.fail(f"others were quicker {_TRIES_MAX} times")


class SetClient(ConsulClient):
    """Sets: a key per element."""

    operations = frozenset({"read", "add"})

    async def _read(self, op: Invocation) -> Outcome:
        found = await self._get(f"{op.key}/", recurse=True)
        return op.ok([decode(each) for each in found])

    async def _add(self, op: Invocation) -> Outcome:
        added = await self._put(f"{op.key}/{op.value}", op.value)
        return op.ok() if added else op.fail("the server refused")


class LockClient(ConsulClient):
    """Keys acquired by sessions."""

    operations = frozenset({"acquire", "release", "write"})
    reads = frozenset()

    def __init__(self, db: Settings) -> None:
        super().__init__(db)
        self._session = ""
        self._alive = KeepAlive(HTTP_PORT, ttl_s=db.ttl_s, timeout_s=db.ttl_s / 2)

    async def open(self, node: Node) -> None:
        """Speak to this server from now on."""
        await super().open(node)
        await self._alive.open(node)

    async def _acquire(self, op: Invocation) -> Outcome:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._db.op_timeout_s * _WAITING_SHARE
        # No delay after a holder's end: the delay is Consul's guard for those who do not fence.
        about = {"TTL": f"{self._db.ttl_s:g}s", "LockDelay": "0s", "Behavior": "release"}
        answer = await self._speaks.put("/v1/session/create", about)
        session = self._session = answer["ID"]
        self._alive.start(lambda http: http.put(f"/v1/session/renew/{session}"))
        while loop.time() < until:
            if await self._put(str(op.key), op.process, acquire=self._session):
                found = await self._get(str(op.key))
                if found and found[0].get("Session") == self._session:
                    return op.ok({"token": int(found[0]["LockIndex"])})
                break
            await asyncio.sleep(_POLL_S)
        await self._end_session()
        return op.fail("the lock was not free in time")

    async def _release(self, op: Invocation) -> Outcome:
        session = self._session
        if not session:
            return op.fail("this client holds no lock")
        released = await self._put(str(op.key), op.process, release=session)
        await self._end_session()
        return op.ok() if released else op.fail("the session had ended, and the lock with it")

    async def _write(self, op: Invocation) -> Outcome:
        return fenced_write(self._db.resource, op)

    async def _end_session(self) -> None:
        self._alive.stop()
        session, self._session = self._session, ""
        await self._speaks.put(f"/v1/session/destroy/{session}")

    async def close(self) -> None:
        """Hang up as the dead do: the session ends by itself."""
        self._session = ""
        await self._alive.close()
        await super().close()


#: kind of objects -> its client
CLIENTS: dict[str, type[ConsulClient]] = {
    "register": ConsulClient,
    "list": ListClient,
    "set": SetClient,
    "lock": LockClient,
}
