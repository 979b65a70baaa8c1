"""Consul's client against the documented HTTP interface, played by a server in the test.

No Consul is to be had where these tests run; the server here does what the interface's
documentation says of keys, compare-and-set, prefixes and sessions.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from real_clusters import do

from harness.databases.consul import Consul
from harness.environments.http import HttpClient
from harness.errors import UsageError


class Interface:
    """Keys with indices, and sessions."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}
        self.sessions: set[str] = set()
        self.index = 0
        self.asked: list[str] = []
        self.broken: tuple[int, str] | None = None

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(f"{method} {target}")
        if self.broken:
            return self.broken
        url = urlsplit(target)
        flags = {name: values[0] for name, values in parse_qs(url.query, True).items()}
        if url.path.startswith("/v1/session/"):
            return self._session(url.path.split("/")[3:])
        key = unquote(url.path.removeprefix("/v1/kv/"))
        return self._get(key, flags) if method == "GET" else (200, self._put(key, flags, body))

    def _session(self, words: list[str]) -> tuple[int, Any]:
        if words[0] == "create":
            self.sessions.add(f"s{len(self.sessions)}")
            return 200, {"ID": f"s{len(self.sessions) - 1}"}
        if words[0] == "destroy":
            for entry in self.keys.values():
                if entry.get("Session") == words[1]:
                    del entry["Session"]
        return 200, True

    def _get(self, key: str, flags: dict[str, str]) -> tuple[int, Any]:
        whole = [k for k in sorted(self.keys) if k == key or "recurse" in flags]
        found = [self.keys[k] for k in whole if k.startswith(key)]
        return (200, found) if found else (404, "")

    def _put(self, key: str, flags: dict[str, str], body: bytes) -> bool:
        entry = self.keys.get(key, {"Key": key, "LockIndex": 0, "ModifyIndex": 0})
        if "cas" in flags and int(flags["cas"]) != entry["ModifyIndex"]:
            return False
        if "acquire" in flags:
            if entry.get("Session") not in (None, flags["acquire"]):
                return False
            entry["Session"] = flags["acquire"]
            entry["LockIndex"] += 1
        if "release" in flags and entry.pop("Session", None) != flags["release"]:
            return False
        self.index += 1
        raw = base64.b64encode(body).decode()
        self.keys[key] = {**entry, "ModifyIndex": self.index, "Value": raw}
        return True


class OneNode:
    """What a client asks of its node."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def http(self, port: int, *, timeout_s: float) -> HttpClient:
        assert port == 8500
        return HttpClient("127.0.0.1", self.port, timeout_s=timeout_s)


def served(body: Callable[[Interface, Callable[..., Any]], Awaitable[None]]) -> None:
    interface = Interface()
    clients: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                method, target, _ = head.split(" ", 2)
                status, said = interface.answer(method, target, await reader.readexactly(length))
                raw = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(raw)))
                writer.write(raw)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        node: Any = OneNode(server.sockets[0].getsockname()[1])

        async def opened(**options: Any) -> Any:
            clients.append(Consul(op_timeout_s=60.0, **options).client())
            await clients[-1].open(node)
            return clients[-1]

        try:
            await body(interface, opened)
        finally:
            for client in clients:
                await client.close()
            server.close()

    asyncio.run(main())


def test_registers_are_compared_by_the_index_read_before() -> None:
    async def body(interface: Interface, opened: Any) -> None:
        client = await opened()
        assert await do(client, "read", key="a b") == ("ok", None)
        assert (await do(client, "cas", [None, 1], key="a b"))[0] == "ok"
        assert (await do(client, "cas", [2, 3], key="a b"))[0] == "fail"
        assert (await do(client, "cas", [1, 4], key="a b"))[0] == "ok"
        assert await do(client, "read", key="a b") == ("ok", 4)
        assert interface.asked[0] == "GET /v1/kv/splitbrain/a%20b?consistent"
        assert interface.asked[2] == "PUT /v1/kv/splitbrain/a%20b?cas=0"
        stale = await opened(read_mode="stale")
        await do(stale, "read")
        assert interface.asked[-1].endswith("?stale")

    served(body)


def test_a_write_that_met_another_one_is_refused() -> None:
    async def body(interface: Interface, opened: Any) -> None:
        client = await opened()
        await do(client, "write", 1)
        real = interface._get

        def meanwhile(key: str, flags: dict[str, str]) -> Any:
            found = json.loads(json.dumps(real(key, flags)))
            interface._put(key, {}, b"9")
            return tuple(found)

        interface._get = meanwhile  # type: ignore[method-assign]
        assert (await do(client, "cas", [1, 2]))[0] == "fail"
        interface._get = real  # type: ignore[method-assign]
        assert await do(client, "read") == ("ok", 9)

    served(body)


def test_lists_sets_and_what_errors_mean() -> None:
    async def body(interface: Interface, opened: Any) -> None:
        items, elements = await opened(objects="list"), await opened(objects="set")
        assert await do(items, "read", key="l") == ("ok", [])
        for value in (1, 2):
            assert (await do(items, "append", value, key="l"))[0] == "ok"
        assert await do(items, "read", key="l") == ("ok", [1, 2])
        for value in (7, 8):
            assert (await do(elements, "add", value, key="s"))[0] == "ok"
        assert await do(elements, "read", key="s") == ("ok", [7, 8])
        client = await opened()
        interface.broken = (500, "No cluster leader")
        assert (await do(client, "write", 1))[0] == "fail"
        interface.broken = (500, "rpc error: leadership lost while committing log")
        assert (await do(client, "write", 1))[0] == "info"
        assert (await do(client, "cas", [None, 1]))[0] == "fail"  # nothing was written yet
        assert (await do(client, "read"))[0] == "fail"

    served(body)


def test_locks_take_turns_and_tokens_grow() -> None:
    async def body(interface: Interface, opened: Any) -> None:
        one, other = await opened(objects="lock"), await opened(objects="lock")
        how, first = await do(one, "acquire", key="k")
        assert (how, first) == ("ok", {"token": 1})
        assert (await do(other, "acquire", key="k"))[0] == "fail"
        assert (await do(one, "release", 1, key="k"))[0] == "ok"
        assert await do(other, "acquire", key="k") == ("ok", {"token": 2})
        assert (await do(one, "release", 1, key="k"))[0] == "fail"

    served(body)


def test_wrong_options_get_a_sentence() -> None:
    with pytest.raises(UsageError, match="'consistent'"):
        Consul(read_mode="consistant")
    with pytest.raises(UsageError, match="ttl_s is 2"):
        Consul(ttl_s=2)
