"""The receiving side: connections of peers and of clients, on one port.

The first frame must be a Hello of this cluster, within ``HELLO_TIMEOUT_S``. With TLS, a peer's
certificate must name the node it claims to be, so a client's certificate cannot speak for a peer.
Of two connections of one peer the one with the higher epoch counts, and the other is closed: that
is the receiving half of Single-Socket Channel.

Every frame of one read is decoded at once; answers of one turn of the core leave in one write. A
client that does not read its answers is not read from.

Used by ``node``; runs in the event loop.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

from cluster.consensus.membership import name_of
from cluster.runtime.frames import BadFrame, encode_frame, frame_decoder
from cluster.runtime.links import tune
from cluster.wire import Frame, Hello, Message, Request, Response

HELLO_TIMEOUT_S = 5.0
#: Answers a client has not read beyond which it is not read from.
CLIENT_BYTES_MAX = 1024 * 1024


class Host(Protocol):
    """What a connection needs of its node."""

    @property
    def cluster(self) -> str:
        """The cluster's name."""

    def refusal(self, hello: Hello) -> str:
        """Why a peer that says hello is not let in; "" if it is."""

    def peer_connected(self, connection: Connection, hello: Hello) -> bool:
        """A peer said hello; False to refuse it, as its epoch is old."""

    def peer_message(self, source: str, message: Message) -> None:
        """A peer's message."""

    def client_connected(self, connection: Connection) -> int:
        """A client said hello; its token."""

    def client_request(self, token: int, request: Request) -> None:
        """A client's request."""

    def closed(self, connection: Connection) -> None:
        """The connection is gone."""

    def refused(self, connection: Connection, reason: str) -> None:
        """The connection was closed for a reason."""


class Connection(asyncio.Protocol):
    """One accepted connection.

    Args:
        host: the node.
    """

    def __init__(self, host: Host) -> None:
        self.sender = ""
        self.epoch = 0
        self.token = 0
        self.address = ""
        self._host = host
        self._decoder = frame_decoder()
        self._transport: asyncio.Transport | None = None
        self._timeout: asyncio.TimerHandle | None = None
        self._answers: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted; nobody is known yet."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=CLIENT_BYTES_MAX)
        self.address = str(transport.get_extra_info("peername"))
        tune(transport.get_extra_info("socket"))
        loop = asyncio.get_running_loop()
        self._timeout = loop.call_later(HELLO_TIMEOUT_S, self._refuse, "it said no hello")

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side, or the network, or this side ended it."""
        self._transport = None
        self._disarm()
        self._host.closed(self)

    def data_received(self, data: bytes) -> None:
        """Bytes: decode every frame in them and hand them on."""
        try:
            frames = self._decoder.feed(data)
        except BadFrame as error:
            self._refuse(str(error))
            return
        for frame in frames:
            if self._transport is None or not self._take(frame):
                return

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
        answers, self._answers = self._answers, []
        if self._transport is not None:
            self._transport.write(answers[0] if len(answers) == 1 else b"".join(answers))

    def close(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _take(self, frame: Frame) -> bool:
        """Handle a frame; False if the connection is finished."""
        if not self.sender:
            return self._greet(frame)
        if self.token:
            if isinstance(frame, Request):
                self._host.client_request(self.token, frame)
                return True
            return self._refuse("a client may send requests only")
        if isinstance(frame, Hello | Request | Response):
            return self._refuse("a peer may send messages only")
        self._host.peer_message(self.sender, frame)
        return True

    def _greet(self, frame: Frame) -> bool:
        if not isinstance(frame, Hello) or not frame.sender:
            return self._refuse("its first frame is no hello")
        if frame.cluster != self._host.cluster:
            return self._refuse(f"it belongs to cluster {frame.cluster!r}")
        self._disarm()
        self.sender, self.epoch = frame.sender, frame.epoch
        if not frame.peer:
            self.token = self._host.client_connected(self)
            return True
        if not self._certified(name_of(frame.sender)):
            return self._refuse(f"its certificate does not name node {name_of(frame.sender)!r}")
        reason = self._host.refusal(frame)
        if reason:
            return self._refuse(reason)
        if not self._host.peer_connected(self, frame):
            return self._refuse(f"its epoch {frame.epoch} is older than one that is connected")
        return True

    def _certified(self, node: str) -> bool:
        """Whether the connection's certificate, if there is TLS, names the node."""
        assert self._transport is not None
        session = self._transport.get_extra_info("ssl_object")
        if session is None:
            return True
        certificate = cast(ssl.SSLObject, session).getpeercert() or {}
        names = cast(tuple[tuple[str, str], ...], certificate.get("subjectAltName", ()))
        return ("DNS", node) in names

    def _refuse(self, reason: str) -> bool:
        self._host.refused(self, reason)
        self.close()
        return False

    def _disarm(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
