"""The receiving side of a connection, of a peer or a client: bytes in, frames to the doors.

The first frame must be a Hello, small, and within ``HELLO_TIMEOUT_S``; ``doors`` decides who comes
in. Every frame of one read is decoded at once; answers of one turn of the core leave in one write.
A client that does not read its answers is not read from. A refused connection gets the reason, in
one last frame: a :class:`cluster.wire.Response` of status ``refused``.

Used by ``doors``; runs in the event loop.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Protocol, cast

from cluster.runtime.frames import BadFrame, encode_frame, frame_decoder
from cluster.runtime.links import tune
from cluster.wire import HELLO_BYTES_MAX, Frame, Hello, Message, Request, Response

HELLO_TIMEOUT_S = 5.0
#: Answers a client has not read beyond which it is not read from.
CLIENT_BYTES_MAX = 1024 * 1024
_OF_CLIENTS = (Hello, Request, Response)
#: How long the last frame to a refused connection may take.
LAST_WORDS_S = 1.0


class Host(Protocol):
    """The interface of the doors to a connection."""

    def accepted(self, connection: Connection) -> None:
        """A connection was accepted."""

    def greet(self, connection: Connection, hello: Hello) -> str:
        """A hello arrived: why it is refused, or "" if it is let in."""

    def holds(self, connection: Connection, *, fresh: bool) -> None:
        """A half frame began (``fresh``), grew or ended."""

    def peer_message(self, source: str, message: Message) -> None:
        """A peer's message."""

    def client_request(self, token: int, request: Request) -> None:
        """A client's request."""

    def closed(self, connection: Connection) -> None:
        """The connection is gone."""

    def refused(self, address: str, reason: str) -> None:
        """The connection was closed for a reason."""


class Connection(asyncio.Protocol):
    """One accepted connection.

    Args:
        host: the doors.
    """

    def __init__(self, host: Host) -> None:
        #: who speaks, once let in
        self.sender = ""
        #: number of a client, 0 for a peer
        self.token = 0
        self.address = ""
        #: when something last arrived, of the monotonic clock
        self.heard_s = 0.0
        self._host = host
        self._decoder = frame_decoder(frame_bytes_max=HELLO_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._timeout: asyncio.TimerHandle | None = None
        self._answers: list[bytes] = []
        self._half = False

    @property
    def held_bytes(self) -> int:
        """Bytes of a half frame held."""
        return self._decoder.held_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted; the sender is not known yet."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=CLIENT_BYTES_MAX)
        self.address = _address(transport.get_extra_info("peername"))
        tune(transport.get_extra_info("socket"))
        loop = asyncio.get_running_loop()
        self._timeout = loop.call_later(HELLO_TIMEOUT_S, self.refuse, "it said no hello")
        self._host.accepted(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side, or the network, or this side ended it."""
        self._transport = None
        self._disarm()
        self._host.closed(self)

    def data_received(self, data: bytes) -> None:
        """Bytes: decode every frame in them and hand them on."""
        if self._transport is None:
            return
        self.heard_s = time.monotonic()
        try:
            frames = self._decoder.feed(data) if self.sender else self._greeted(data)
            host, sender, token = self._host, self.sender, self.token
            for frame in frames:
                if token:
                    if type(frame) is not Request:
                        raise BadFrame("a client may send requests only")
                    host.client_request(token, frame)
                elif isinstance(frame, _OF_CLIENTS):
                    raise BadFrame("a peer may send messages only")
                else:
                    host.peer_message(sender, frame)
                if self._transport is None:
                    return
        except BadFrame as error:
            self.refuse(str(error))
            return
        half = self._decoder.held_bytes > 0
        if half or self._half:
            fresh, self._half = bool(frames) or not self._half, half
            self._host.holds(self, fresh=fresh)

    def pause_writing(self) -> None:
        """Answers pile up: read no more requests."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Answers flow again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def answer(self, response: Response) -> None:
        """Gather a response, to be sent with all others at the next :meth:`flush`."""
        self._answers.append(encode_frame(response))

    def flush(self) -> None:
        """Send the responses gathered, in one write."""
        answers = self._answers
        if self._transport is not None:
            self._transport.write(answers[0] if len(answers) == 1 else b"".join(answers))
        answers.clear()

    def let_in(self, sender: str, *, token: int, frame_bytes_max: int) -> None:
        """It is known from now on: a client with a token, or a peer without."""
        self._disarm()
        self.sender, self.token = sender, token
        self._decoder.frame_bytes_max = frame_bytes_max

    def certified(self, node: str) -> bool:
        """Whether the connection's certificate, if there is TLS, names the node."""
        assert self._transport is not None
        session = self._transport.get_extra_info("ssl_object")
        if session is None:
            return True
        certificate = cast(ssl.SSLObject, session).getpeercert() or {}
        names = cast(tuple[tuple[str, str], ...], certificate.get("subjectAltName", ()))
        return ("DNS", node) in names

    def refuse(self, reason: str) -> None:
        """Say why, and end it."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._disarm()
        self._host.refused(self.address, reason)
        transport.write(encode_frame(Response(0, "refused", error=reason)))
        transport.close()
        asyncio.get_running_loop().call_later(LAST_WORDS_S, transport.abort)

    def close(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _greeted(self, data: bytes) -> list[Frame]:
        """The frames after a hello that was let in."""
        first = self._decoder.feed(data, messages_max=1)
        if not first:
            return []
        hello = first[0]
        if not isinstance(hello, Hello):
            raise BadFrame("its first frame is no hello")
        reason = self._host.greet(self, hello)
        if reason:
            raise BadFrame(reason)
        return self._decoder.feed(b"")

    def _disarm(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None


def _address(peername: tuple[str, int] | None) -> str:
    """An address of a socket as on a command line; "" if the other side is gone already."""
    if peername is None:
        return ""
    host, port = peername[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
