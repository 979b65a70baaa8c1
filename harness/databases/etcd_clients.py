"""etcd's clients, one per kind of objects, over the JSON gateway.

- registers: put, range, and compare-and-set by transaction;
- lists and logs: the whole list in one key, extended by a transaction on its revision;
- sets: a key per element, read as a range;
- watches: a stream of events from a revision, a stretch at a time;
- locks: etcd's own recipe, ``v3lock``: a session (a lease kept alive in the background) and a key
  under the lock's name; the client with the oldest key has the lock, and that key's revision is the
  fencing token. The client does as the recipe does, and does not ask again whether its session
  still lives before it does something: that is what fencing is for;
- leases: a key that only one can create, attached to a lease.

An error of which etcd says that nothing was proposed is ``fail``; a timeout or a lost leader may
have happened: ``info``. Made by :class:`harness.databases.etcd.Etcd`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import msgspec

from harness.databases.base import Invocation, Outcome
from harness.databases.http_clients import HttpDatabaseClient
from harness.databases.locks import KeepAlive, fenced_write
from harness.environments.base import Node
from harness.environments.http import HttpStatus
from workloads.lock import FencedResource

CLIENT_PORT = 2379
#: tries of a compare-and-set loop to be quicker than others
_TRIES_MAX = 20
#: fragments of etcd's errors which mean that the request was not proposed
_REFUSED = ("too many requests", "not capable", "requested lease not found", "key is not provided")
_PREFIX = "splitbrain/"
#: how much of an operation's time is spent waiting for a lock; the rest is for giving up in order
_WAITING_SHARE = 0.6


def encode_key(key: Any) -> str:
    """A key as etcd's gateway takes it."""
    return base64.b64encode(f"{_PREFIX}{key}".encode()).decode()


def range_end(prefix: str) -> str:
    """The end of the range of all keys with a prefix, as the gateway takes it."""
    raw = f"{_PREFIX}{prefix}".encode()
    return base64.b64encode(raw[:-1] + bytes([raw[-1] + 1])).decode()


def encode(value: Any) -> str:
    """A JSON value as etcd's gateway takes it; equal values encode equally."""
    return base64.b64encode(msgspec.json.encode(value)).decode()


def decode(text: str) -> Any:
    """The value of :func:`encode`."""
    return msgspec.json.decode(base64.b64decode(text))


def decode_key(text: str) -> str:
    """The key of :func:`encode_key`."""
    return base64.b64decode(text).decode().removeprefix(_PREFIX)


class Settings(Protocol):
    """The interface of the database to its clients."""

    op_timeout_s: float
    read_mode: str
    ttl_s: int
    watch_s: float
    resource: FencedResource


class EtcdClient(HttpDatabaseClient[Settings]):
    """Speaks to one member about registers; base of the other clients."""

    database, port, refusals = "etcd", CLIENT_PORT, _REFUSED
    operations = frozenset({"read", "write", "cas"})

    async def _post(self, method: str, body: dict[str, Any]) -> Any:
        return await self._speaks.post(f"/v3/{method}", body)

    async def _range(self, key: str, **more: Any) -> list[dict[str, Any]]:
        body: dict[str, Any] = {"key": key, **more}
        if self._db.read_mode == "serializable":
            body["serializable"] = True
        found: list[dict[str, Any]] = (await self._post("kv/range", body)).get("kvs", [])
        return found

    async def _read(self, op: Invocation) -> Outcome:
        found = await self._range(encode_key(op.key))
        return op.ok(decode(found[0]["value"]) if found else None)

    async def _write(self, op: Invocation) -> Outcome:
        await self._post("kv/put", {"key": encode_key(op.key), "value": encode(op.value)})
        return op.ok()

    async def _cas(self, op: Invocation) -> Outcome:
        old, new = op.value
        key = encode_key(op.key)
        compare: dict[str, Any] = {"key": key, "result": "EQUAL"}
        if old is None:
            compare |= {"target": "CREATE", "create_revision": "0"}
        else:
            compare |= {"target": "VALUE", "value": encode(old)}
        swapped = await self._swap(compare, {"key": key, "value": encode(new)})
        return op.ok() if swapped else op.fail("the value is another")

    async def _swap(self, compare: dict[str, Any], put: dict[str, Any]) -> dict[str, Any] | None:
        """The answer of a put under a condition, or None if that does not hold."""
        body = {"compare": [compare], "success": [{"requestPut": put}]}
        answer: dict[str, Any] = await self._post("kv/txn", body)
        return answer if answer.get("succeeded", False) else None


class ListClient(EtcdClient):
    """Append-only lists."""

    operations = frozenset({"read", "append"})

    async def _read(self, op: Invocation) -> Outcome:
        found = await self._range(encode_key(op.key))
        return op.ok(decode(found[0]["value"]) if found else [])

    async def _append(self, op: Invocation) -> Outcome:
        outcome = await self._extend(op)
        return op.ok() if outcome.type == "ok" else outcome

    async def _extend(self, op: Invocation) -> Outcome:
        """Append; at which index."""
        key = encode_key(op.key)
        for _ in range(_TRIES_MAX):
            try:
                found = await self._range(key)
            except (HttpStatus, TimeoutError, ConnectionError) as error:
                return op.fail(f"reading before the append: {error}")  # nothing was written yet
            items = decode(found[0]["value"]) if found else []
            revision = found[0]["mod_revision"] if found else "0"
            compare = {"key": key, "result": "EQUAL", "target": "MOD", "mod_revision": revision}
            if await self._swap(compare, {"key": key, "value": encode([*items, op.value])}):
                return op.ok(len(items))
        return op.fail(f"others were quicker {_TRIES_MAX} times")


class LogClient(ListClient):
    """Logs: lists, of which the index is the offset."""

    operations = frozenset({"send", "poll", "assign"})
    reads = frozenset({"poll", "assign"})

    async def _send(self, op: Invocation) -> Outcome:
        return await self._extend(op)

    async def _poll(self, op: Invocation) -> Outcome:
        found = await self._range(encode_key(op.key))
        items = decode(found[0]["value"]) if found else []
        return op.ok([[at, each] for at, each in enumerate(items) if at >= op.value["from"]])

    async def _assign(self, op: Invocation) -> Outcome:
        return op.ok()  # every poll says where it begins


class SetClient(EtcdClient):
    """Sets: a key per element."""

    operations = frozenset({"read", "add"})

    async def _read(self, op: Invocation) -> Outcome:
        found = await self._range(encode_key(f"{op.key}/"), range_end=range_end(f"{op.key}/"))
        return op.ok([decode(each["value"]) for each in found])

    async def _add(self, op: Invocation) -> Outcome:
        key = encode_key(f"{op.key}/{op.value}")
        await self._post("kv/put", {"key": key, "value": encode(op.value)})
        return op.ok()


class WatchClient(EtcdClient):
    """Writes that say at which revision they were made, and watches."""

    operations = frozenset({"write", "watch"})
    reads = frozenset({"watch"})

    def __init__(self, db: Settings) -> None:
        super().__init__(db)
        self._address = ""

    async def open(self, node: Node) -> None:
        """Speak to this member from now on."""
        await super().open(node)
        self._address = node.address

    async def _write(self, op: Invocation) -> Outcome:
        body = {"key": encode_key(op.key), "value": encode(op.value)}
        answer = await self._post("kv/put", body)
        return op.ok({"revision": int(answer["header"]["revision"])})

    async def _watch(self, op: Invocation) -> Outcome:
        prefix = op.value["prefix"]
        create = {"key": encode_key(prefix), "range_end": range_end(prefix)}
        request = {"create_request": {**create, "start_revision": str(op.value["from"])}}
        events: list[dict[str, Any]] = []
        stream = streamed(self._address, "/v3/watch", request, for_s=self._db.watch_s)
        async with contextlib.aclosing(stream):
            async for message in stream:
                result = message.get("result")
                if result is None or result.get("canceled"):
                    return op.fail(f"the watch was cancelled: {str(message)[:200]}")
                events += [_event(each) for each in result.get("events", ())]
        return op.ok({"events": events})


def _event(reported: dict[str, Any]) -> dict[str, Any]:
    kv = reported["kv"]
    event = {"revision": int(kv["mod_revision"]), "key": decode_key(kv["key"])}
    if reported.get("type") == "DELETE":
        return {**event, "type": "delete"}
    return {**event, "value": decode(kv["value"])}


async def streamed(
    host: str, path: str, body: dict[str, Any], *, for_s: float
) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON lines of a streamed answer, for so long.

    Raises:
        ConnectionError: the stream could not be opened, or broke.
    """
    reader, writer = await asyncio.open_connection(host, CLIENT_PORT)
    loop = asyncio.get_running_loop()
    until = loop.time() + for_s
    rest = b""
    try:
        raw = msgspec.json.encode(body)
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(raw)}\r\n\r\n"
        writer.write(head.encode() + raw)
        async with asyncio.timeout_at(until):
            status = await reader.readuntil(b"\r\n\r\n")
        if not status.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"the stream was refused: {status[:60]!r}")
        while True:
            try:
                async with asyncio.timeout_at(until):
                    size = int(await reader.readuntil(b"\r\n"), 16)
                    rest += (await reader.readexactly(size + 2))[:-2]
            except TimeoutError:
                return
            *lines, rest = rest.split(b"\n")
            for line in lines:
                yield msgspec.json.decode(line)
            if not size:
                return
    except (asyncio.IncompleteReadError, ValueError) as error:
        raise ConnectionResetError("the stream broke") from error
    finally:
        writer.transport.abort()


class SessionClient(EtcdClient):
    """Has a lease that must be kept alive."""

    def __init__(self, db: Settings) -> None:
        super().__init__(db)
        self._lease = ""

    async def _granted(self, ttl_s: float) -> float:
        """Get a lease; its time to live in seconds."""
        answer = await self._post("lease/grant", {"TTL": str(max(1, round(ttl_s)))})
        self._lease = answer["ID"]
        return float(answer["TTL"])

    async def _revoked(self) -> None:
        lease, self._lease = self._lease, ""
        if lease:
            await self._post("lease/revoke", {"ID": lease})


class LockClient(SessionClient):
    """The lock recipe: a session kept alive, and a key that waits to be the oldest."""

    operations = frozenset({"acquire", "release", "write"})
    reads = frozenset()

    def __init__(self, db: Settings) -> None:
        super().__init__(db)
        self._key = ""
        self._alive = KeepAlive(CLIENT_PORT, ttl_s=db.ttl_s, timeout_s=db.ttl_s)

    async def open(self, node: Node) -> None:
        """Speak to this member from now on."""
        await super().open(node)
        await self._alive.open(node)

    async def _acquire(self, op: Invocation) -> Outcome:
        await self._granted(self._db.ttl_s)
        lease = self._lease
        self._alive.start(lambda http: http.post("/v3/lease/keepalive", {"ID": lease}))
        body = {"name": encode_key(op.key), "lease": lease}
        try:
            async with asyncio.timeout(self._db.op_timeout_s * _WAITING_SHARE):
                answer = await self._post("lock/lock", body)
        except TimeoutError:
            # Without its lease it neither holds the lock nor stands in the queue for it.
            await self._end_session()
            return op.fail("the lock was not free in time")
        self._key = answer["key"]
        found = await self._range(self._key)
        if not found:
            await self._end_session()
            return op.fail("the session ended while it waited for the lock")
        return op.ok({"token": int(found[0]["create_revision"])})

    async def _release(self, op: Invocation) -> Outcome:
        key, self._key = self._key, ""
        if not key:
            return op.fail("this client holds no lock")
        await self._post("lock/unlock", {"key": key})
        await self._end_session()
        return op.ok()

    async def _write(self, op: Invocation) -> Outcome:
        return fenced_write(self._db.resource, op)

    async def _end_session(self) -> None:
        self._alive.stop()
        await self._revoked()

    async def close(self) -> None:
        """Hang up as the dead do: the session ends by itself."""
        self._lease = self._key = ""
        await self._alive.close()
        await super().close()


class LeaseClient(SessionClient):
    """A key that exists as long as its lease; who creates it has it."""

    operations = frozenset({"grant", "renew", "revoke"})
    reads = frozenset()

    async def _grant(self, op: Invocation) -> Outcome:
        key = encode_key(op.key)
        ttl_s = await self._granted(op.value["ttl_s"])
        compare = {"key": key, "result": "EQUAL", "target": "CREATE", "create_revision": "0"}
        put = {"key": key, "value": encode(op.process), "lease": self._lease}
        made = await self._swap(compare, put)
        if made is None:
            with contextlib.suppress(OSError, TimeoutError, HttpStatus):
                await self._revoked()
            return op.fail("the lease is another's")
        return op.ok({"ttl_s": ttl_s, "token": int(made["header"]["revision"])})

    async def _renew(self, op: Invocation) -> Outcome:
        answer = await self._post("lease/keepalive", {"ID": self._lease})
        ttl_s = float(answer.get("result", {}).get("TTL", 0))
        return op.ok({"ttl_s": ttl_s}) if ttl_s > 0 else op.fail("the lease has ended")

    async def _revoke(self, op: Invocation) -> Outcome:
        await self._revoked()
        return op.ok()


#: kind of objects -> its client
CLIENTS: dict[str, type[EtcdClient]] = {
    "register": EtcdClient,
    "list": ListClient,
    "log": LogClient,
    "set": SetClient,
    "watch": WatchClient,
    "lock": LockClient,
    "lease": LeaseClient,
}
