"""A node that answers as a test says, so that what a client meets comes at a known moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from cluster.runtime.frames import encode_frame, frame_decoder
from cluster.wire import Request, Response

#: a request -> its answer; None for no answer
Answers = Callable[[Request], Response | None]


class FakeNode(asyncio.Protocol):
    """One connection of a client to it."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._decoder = frame_decoder()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            answer = self._answers(message) if isinstance(message, Request) else None
            if answer is not None:
                self._transport.write(encode_frame(answer))


@contextlib.asynccontextmanager
async def fake_node(answers: Answers) -> AsyncIterator[str]:
    """Serve; gives the address."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: FakeNode(answers), "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
