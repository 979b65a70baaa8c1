"""The HTTP client tells what was certainly not sent from what may have been done."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harness.environments.http import HttpClient, HttpStatus, NotSent

pytestmark = pytest.mark.real
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


async def serving(
    answer: Answer, body: Callable[[HttpClient], Awaitable[None]], *, timeout_s: float = 60.0
) -> int:
    """Run a body against a server; returns how many connections it took."""
    connections = 0
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                await answer(head + await reader.readexactly(length), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = HttpClient("127.0.0.1", port, timeout_s=timeout_s)
    try:
        await body(client)
    finally:
        await client.close()
        for writer in writers:
            writer.close()
        server.close()
    return connections


def says(*parts: bytes) -> Answer:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def test_one_connection_serves_many_requests_and_bodies_are_json() -> None:
    async def body(client: HttpClient) -> None:
        for _ in range(5):
            assert await client.post("/x", {"a": 1}) == {"b": [2]}

    assert asyncio.run(serving(says(OK % (9, b'{"b":[2]}')), body)) == 1


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (says(OK % (5, b"hello")), "hello"),
        (says(OK % (0, b"")), None),
        (says(b"HTTP/1.1 204 No Content\r\n\r\n"), None),
        (
            says(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,",
                b"\r\n2;x=y\r\n2]\r\n0\r\nA: b\r\n\r\n",
            ),
            [1, 2],
        ),
    ],
)
def test_bodies(answer: Answer, wanted: Any) -> None:
    async def body(client: HttpClient) -> None:
        assert await client.get("/") == wanted

    asyncio.run(serving(answer, body))


def test_a_refusal_carries_status_and_body() -> None:
    async def body(client: HttpClient) -> None:
        with pytest.raises(HttpStatus, match="404") as raised:
            await client.delete("/")
        assert raised.value.body == {"e": 1}

    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\n"
    asyncio.run(serving(says(head + b'{"e":1}'), body))


def test_what_was_sent_and_not_answered_may_have_happened() -> None:
    async def silent(request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async def hangs_up(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
        await writer.drain()
        writer.close()

    async def times_out(client: HttpClient) -> None:
        with pytest.raises(TimeoutError):
            await client.put("/", 1)

    async def resets(client: HttpClient) -> None:
        with pytest.raises(ConnectionError) as raised:
            await client.put("/", 1)
        assert not isinstance(raised.value, NotSent)

    asyncio.run(serving(silent, times_out, timeout_s=0.3))
    asyncio.run(serving(hangs_up, resets))


def test_what_could_not_be_dialled_was_not_sent() -> None:
    async def main() -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            port = holder.getsockname()[1]
            with pytest.raises(NotSent):
                await HttpClient("127.0.0.1", port).put("/", 1)
        with socket.socket() as full:
            # A listener whose backlog is full does not answer further connections.
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            with pytest.raises(NotSent):
                await HttpClient("127.0.0.1", port, timeout_s=0.2).put("/", 1)
            for filler in fillers:
                filler.close()

    asyncio.run(main())
