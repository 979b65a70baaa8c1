"""A small HTTP/1.1 client for JSON over one kept-alive connection.

It exists because an outcome depends on *where* a request failed. A connection that was refused
sent nothing: the operation did not happen. A request cut off after its bytes left may have
happened. General HTTP clients blur this and pool connections behind one's back; this one raises
:class:`NotSent` for the first kind and lets ``TimeoutError`` or ``ConnectionError`` through for the
second. It costs a tenth of a general client's processor time, which on a small machine is the
difference between testing the database and testing the client.

A client does one request at a time; after any error it dials anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

BODY_BYTES_MAX = 64 * 1024 * 1024


class NotSent(ConnectionError):
    """The request never left this machine: what it asked for did not happen."""


class HttpStatus(Exception):
    """The server answered with a status of 400 or more.

    Args:
        status: the status code.
        body: the decoded body.
    """

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body
        super().__init__(f"HTTP status {status}: {body!r}"[:500])


class HttpClient:
    """Speaks JSON to one address.

    Args:
        host, port: where to dial.
        timeout_s: for a whole request, dialling included.
        token: shown with each request as ``Authorization: Bearer``; "" for none.
    """

    def __init__(self, host: str, port: int, *, timeout_s: float = 5.0, token: str = "") -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self.token = token
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._sent = False

    async def get(self, path: str) -> Any:
        """GET; the decoded body."""
        return await self.request("GET", path)

    async def put(self, path: str, value: Any = None) -> Any:
        """PUT a JSON value; the decoded answer."""
        return await self.request("PUT", path, value)

    async def post(self, path: str, value: Any = None) -> Any:
        """POST a JSON value; the decoded answer."""
        return await self.request("POST", path, value)

    async def delete(self, path: str) -> Any:
        """DELETE; the decoded answer."""
        return await self.request("DELETE", path)

    async def request(self, method: str, path: str, value: Any = msgspec.UNSET) -> Any:
        """One request.

        Returns:
            the decoded JSON body, the text if it is not JSON, or None if it is empty.

        Raises:
            HttpStatus: the server refused.
            NotSent: nothing was sent.
            TimeoutError, ConnectionError: it was sent, and its outcome is unknown.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                self._sent = False
                status, body = await self._exchange(method, path, value)
        except TimeoutError as error:
            await self.close()
            if self._sent:
                raise
            raise NotSent(f"cannot dial {self._host}:{self._port}: no answer") from error
        except BaseException:  # a cancellation too: half an answer may be in the connection
            await self.close()
            raise
        if status >= 400:
            raise HttpStatus(status, body)
        return body

    async def close(self) -> None:
        """Hang up; the next request dials again."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.transport.abort()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            await self.close()
            try:
                self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
            except (OSError, TimeoutError) as error:
                raise NotSent(f"cannot dial {self._host}:{self._port}: {error}") from error
        return self._reader, self._writer

    async def _exchange(self, method: str, path: str, value: Any) -> tuple[int, Any]:
        reader, writer = await self._dial()
        body = b"" if value is msgspec.UNSET else msgspec.json.encode(value)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Accept: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        if self.token:
            head += f"Authorization: Bearer {self.token}\r\n"
        if body:
            head += "Content-Type: application/json\r\n"
        self._sent = True
        writer.write(head.encode("latin-1") + b"\r\n" + body)
        await writer.drain()
        status, headers = await self._read_head(reader)
        raw = await self._read_body(reader, headers, status)
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return status, _decoded(raw)

    @staticmethod
    async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
        try:
            text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise ConnectionResetError("the server hung up before it answered") from error
        first, *rest = text.split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[1].isdigit():
            raise ConnectionError(f"this is no HTTP answer: {first[:80]!r}")
        pairs = (line.partition(":") for line in rest if ":" in line)
        return int(words[1]), {name.strip().lower(): text.strip() for name, _, text in pairs}

    async def _read_body(
        self, reader: asyncio.StreamReader, headers: dict[str, str], status: int
    ) -> bytes:
        try:
            if "chunked" in headers.get("transfer-encoding", ""):
                return await _read_chunks(reader)
            if "content-length" in headers:
                return await reader.readexactly(min(int(headers["content-length"]), BODY_BYTES_MAX))
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the server hung up in its answer") from error
        if status in (204, 304):
            return b""
        # Neither length nor chunks: the body lasts until the server hangs up.
        raw = await reader.read(BODY_BYTES_MAX)
        await self.close()
        return raw


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readuntil(b"\r\n")) != b"\r\n":
        pass
    return b"".join(parts)


def _decoded(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw.decode("utf-8", "replace")


async def until_ok(
    address: str,
    port: int,
    path: str,
    *,
    within_s: float,
    look: Callable[[], Awaitable[None]],
    look_every_s: float = 0.0,
) -> str:
    """Ask by GET until the answer is 2xx: "" then, else why the last try failed.

    Args:
        address, port, path: what is asked.
        within_s: how long it is tried.
        look: called between tries; what it raises ends the waiting.
        look_every_s: the least time between two looks.
    """
    looked, why = time.monotonic(), "it was never tried"
    deadline = looked + within_s
    while time.monotonic() < deadline:
        if time.monotonic() - looked >= look_every_s:
            await look()
            looked = time.monotonic()
        client = HttpClient(address, port, timeout_s=max(0.05, min(1.0, within_s)))
        try:
            await client.get(path)
            return ""
        except (OSError, TimeoutError, HttpStatus) as error:
            why = str(error) or type(error).__name__
        finally:
            await client.close()
        await asyncio.sleep(0.05)
    return why
