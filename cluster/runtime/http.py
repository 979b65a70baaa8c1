"""A small, strict HTTP/1.1 server for the admin endpoint: no dependency, no surprise.

One request at a time per connection, with keep-alive. Bodies have a Content-Length; chunked bodies,
header blocks over 16 KiB and bodies over 64 KiB are refused. A request with an ``Origin`` header is
refused: a web page in a browser must not stop clocks. Malformed input gets a 400 and the
end of the connection. So does a request that is not whole in time or comes in too many pieces, and
when there are too many connections the oldest goes.

Pure parsing (:func:`parse_request`) apart from the asyncio protocol. Used by ``admin``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias, cast

import msgspec

HEADER_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
IDLE_TIMEOUT_S = 30.0
#: Reads one request may take; each looks at all of it.
PIECES_MAX = 256
CONNECTIONS_MAX = 128

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,1024}) HTTP/1\.([01])")
_HEADER_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")


_ONCE = ("authorization", "content-length", "host", "transfer-encoding")


class HttpRequest(msgspec.Struct, frozen=True):
    """A request.

    Args:
        method, path: what is asked, the path without its query.
        body: what came with it.
        keep_alive: whether the connection stays.
        host: what the client believes that it speaks to; "" if it does not say.
        authorization: what it shows for itself.
    """

    method: str
    path: str
    body: bytes
    keep_alive: bool
    host: str = ""
    authorization: str = ""


class HttpResponse(msgspec.Struct, frozen=True):
    """An answer: status, body and its type."""

    status: int
    body: bytes
    content_type: str = "application/json"


class BadRequest(Exception):
    """The request is not accepted by this server; ``status`` says why."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


Handler: TypeAlias = Callable[[HttpRequest], HttpResponse]


def problem(status: int, reason: str) -> HttpResponse:
    """An error as JSON."""
    return HttpResponse(status, msgspec.json.encode({"error": reason}) + b"\n")


def parse_request(data: bytes) -> tuple[HttpRequest, int] | None:
    """The first request in ``data`` and the bytes it takes, or None if it is not whole yet.

    Raises:
        BadRequest: it never will be one.
    """
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0 or head_end > HEADER_BYTES_MAX:
        if len(data) > HEADER_BYTES_MAX:
            raise BadRequest(431, f"a request's header must be within {HEADER_BYTES_MAX} bytes")
        return None
    first, *lines = data[:head_end].split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise BadRequest(400, "the request line is not METHOD /path HTTP/1.1")
    headers = _headers(lines)
    length = _body_length(headers)
    end = head_end + 4 + length
    if len(data) < end:
        return None
    method, path, minor = line[1].decode(), line[2].decode().partition("?")[0], line[3]
    keep_alive = minor == b"1" and headers.get("connection", "").lower() != "close"
    body = data[head_end + 4 : end]
    host, shown = headers.get("host", ""), headers.get("authorization", "")
    return HttpRequest(method, path, body, keep_alive, host, shown), end


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise BadRequest(400, "a header line is not Name: value")
        name = match[1].decode().lower()
        if name in headers and name in _ONCE:
            raise BadRequest(400, f"header {name} is given twice")
        headers[name] = match[2].decode("latin-1")
    if "origin" in headers:
        raise BadRequest(403, "requests from web pages are refused")
    if "transfer-encoding" in headers:
        raise BadRequest(501, "transfer encodings are not supported: send a Content-Length")
    return headers


def _body_length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadRequest(400, f"Content-Length {text[:20]!r} is no length")
    if int(text) > BODY_BYTES_MAX:
        raise BadRequest(413, f"a body must be within {BODY_BYTES_MAX} bytes")
    return int(text)


class HttpConnection(asyncio.Protocol):
    """One connection of the admin endpoint.

    Args:
        handle: answers a request; it must not block.
        others: every connection of the endpoint, oldest first; this one enters and leaves it.
    """

    def __init__(self, handle: Handler, others: dict[HttpConnection, None]) -> None:
        self._handle = handle
        self._others = others
        self._pieces = 0
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted."""
        self._transport = cast(asyncio.Transport, transport)
        self._others[self] = None
        if len(self._others) > CONNECTIONS_MAX:
            next(iter(self._others)).close()
        self._touch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._transport = None
        self._others.pop(self, None)
        if self._idle is not None:
            self._idle.cancel()

    def close(self) -> None:
        """End it now."""
        self._others.pop(self, None)
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in what has arrived."""
        self._data += data
        self._pieces += 1
        try:
            if self._pieces > PIECES_MAX:
                raise BadRequest(400, f"a request came in more than {PIECES_MAX} pieces")
            while self._transport is not None and (found := parse_request(self._data)):
                request, used = found
                self._data, self._pieces = self._data[used:], 0
                self._touch()
                self._answer(self._handle(request), keep_alive=request.keep_alive)
        except BadRequest as error:
            self._answer(problem(error.status, str(error)), keep_alive=False)

    def _answer(self, response: HttpResponse, *, keep_alive: bool) -> None:
        if self._transport is None:
            return
        phrase = HTTPStatus(response.status).phrase
        head = (
            f"HTTP/1.1 {response.status} {phrase}\r\n"
            f"Content-Type: {response.content_type}\r\n"
            f"Content-Length: {len(response.body)}\r\n"
            f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
        )
        self._transport.write(head.encode() + response.body)
        if not keep_alive:
            self._transport.close()
            self._transport = None

    def _touch(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(IDLE_TIMEOUT_S, self.close)
