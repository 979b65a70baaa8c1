"""What databases over HTTP have in common: outcomes of errors, questions, sessions kept alive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from real_clusters import do, until

from harness.databases.base import Invocation
from harness.databases.consul import Consul
from harness.databases.etcd import Etcd
from harness.databases.http_clients import answered, leaders
from harness.databases.locks import KeepAlive, fenced_write
from harness.databases.pysyncobj import PySyncObj
from harness.environments.http import HttpClient
from harness.errors import UsageError
from workloads.lock import FencedResource

#: long enough to dial on a busy machine
TIMEOUT_S = 1.0


class Server:
    """Answers everything in the same way: a status and a body, silence, or hanging up."""

    def __init__(self, says: Any) -> None:
        self.says = says
        self.asked: list[str] = []
        self.name = self.address = "127.0.0.1"
        self.port = 0

    async def http(self, port: int, *, timeout_s: float) -> HttpClient:
        return HttpClient(self.address, self.port, timeout_s=timeout_s)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = int(head.split("Content-Length: ")[1].split("\r\n")[0])
                body = await reader.readexactly(length)
                self.asked.append(f"{head.split(' ')[1]} {body.decode()}")
                if self.says == "silence":
                    continue
                if self.says == "hang up":
                    break
                status, said = self.says
                raw = json.dumps(said).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(raw)))
                writer.write(raw)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def served(server: Server, body: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        listening = await asyncio.start_server(server.serve, server.address, 0)
        server.port = listening.sockets[0].getsockname()[1]
        try:
            await body(server)
        finally:
            listening.close()

    asyncio.run(main())


DATABASES = [
    pytest.param(Consul, "No cluster leader", id="consul"),
    pytest.param(Etcd, "etcdserver: too many requests", id="etcd"),
    pytest.param(PySyncObj, "", id="pysyncobj"),
]


@pytest.mark.parametrize(("make", "refusal"), DATABASES)
def test_only_what_certainly_did_not_happen_fails(make: Any, refusal: str) -> None:
    async def becomes(client: Any, f: str) -> str:
        return (await do(client, f, 1 if f == "write" else None))[0]

    async def body(server: Any) -> None:
        client = make(op_timeout_s=TIMEOUT_S).client()
        with pytest.raises(AssertionError, match="open"):
            await do(client, "write", 1)
        await client.open(server)
        for says in ("silence", "hang up", (500, "leadership lost")):
            server.says = says
            assert await becomes(client, "write") == "info", says
            assert await becomes(client, "read") == "fail", says
        if refusal:
            server.says = (500, refusal)
            assert await becomes(client, "write") == "fail"
        server.port = 1  # where nobody listens
        await client.open(server)
        assert await becomes(client, "write") == "fail"
        assert await becomes(client, "read") == "fail"
        await client.close()

    served(Server("silence"), body)


@pytest.mark.parametrize("make", [Consul, Etcd])
def test_an_unknown_operation_gets_a_sentence(make: Any) -> None:
    async def body(server: Any) -> None:
        client = make().client()
        await client.open(server)
        with pytest.raises(UsageError, match=rf"{make.name} client has no operation 'incr'.*cas"):
            await do(client, "incr", 1)
        assert not server.asked
        await client.close()

    served(Server("silence"), body)


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        ((200, {"leads": True}), ["127.0.0.1"]),
        ((200, {"leads": False}), []),
        ((200, {}), []),
        ((200, "ok"), []),
        ((200, None), []),
        ((503, {"leads": True}), []),
        ("silence", []),
        ("hang up", []),
    ],
)
def test_who_does_not_say_that_it_leads_does_not(says: Any, wanted: list[str]) -> None:
    async def body(server: Any) -> None:
        assert await PySyncObj().primaries([server]) == wanted
        assert await Etcd().primaries([server]) == []
        assert await Consul().primaries([server]) == []

    served(Server(says), body)


def test_each_database_knows_its_own_leader() -> None:
    async def body(server: Any) -> None:
        server.says = (200, {"leader": "7", "header": {"member_id": "7"}})
        assert await Etcd().primaries([server]) == ["127.0.0.1"]
        server.says = (200, {"leader": "8", "header": {"member_id": "7"}})
        assert await Etcd().primaries([server]) == []
        server.says = (200, "127.0.0.1:8300")
        assert await Consul().primaries([server]) == ["127.0.0.1"]
        server.says = (200, "127.0.0.2:8300")
        assert await Consul().primaries([server]) == []

    served(Server("silence"), body)


def test_a_question_is_not_waited_for_long_and_the_others_are_asked_too() -> None:
    async def body(server: Any) -> None:
        silent = Server("silence")
        listening = await asyncio.start_server(silent.serve, silent.address, 0)
        silent.port = listening.sockets[0].getsockname()[1]
        silent.name = "silent"
        both: list[Any] = [silent, server]

        def leads(node: Any, answer: Any) -> bool:
            return bool(answer == 1)

        async with asyncio.timeout(20):
            assert await answered(both[0], 1, _question, timeout_s=0.1) is None
            assert await leaders(both, 1, _question, leads) == ["127.0.0.1"]
        assert len(silent.asked) == 2
        listening.close()

    served(Server((200, 1)), body)


def _question(http: HttpClient) -> Awaitable[Any]:
    return http.get("/who")


def test_a_session_is_kept_alive_whatever_becomes_of_a_renewal_until_it_is_stopped() -> None:
    async def body(server: Any) -> None:
        def renewals_of(name: str) -> Callable[[], Awaitable[Any]]:
            async def more() -> bool:
                return sum(name in each for each in server.asked) >= 2

            server.asked.clear()
            return more

        alive = KeepAlive(1, ttl_s=0.06, timeout_s=0.05)
        await alive.open(server)
        alive.start(lambda http: http.put("/renew/one"))
        for says in ("hang up", (500, "no"), "silence", (200, True)):
            server.says = says
            await until(renewals_of("one"))
        alive.start(lambda http: http.put("/renew/other"))
        await until(renewals_of("other"))  # meanwhile a last one of "one" may have arrived
        await until(renewals_of("other"))
        assert not [each for each in server.asked if "one" in each]
        alive.stop()
        asked = len(server.asked)
        await asyncio.sleep(0.2)
        assert len(server.asked) <= asked + 1  # one may have been on its way
        await alive.close()

    served(Server((200, True)), body)


def test_a_write_under_an_old_token_is_refused() -> None:
    resource = FencedResource()

    def write(token: int) -> str:
        op = Invocation(0, "write", "k", {"token": token, "value": 1})
        return fenced_write(resource, op).type

    assert [write(token) for token in (2, 2, 1, 3, 2)] == ["ok", "ok", "fail", "ok", "fail"]
