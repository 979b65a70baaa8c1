"""Single-Socket Channel, the sending side: one connection to each peer, for sending only.

Problem: messages between two nodes must arrive in the order sent, or a pipeline sees holes where
there are none. Solution: one connection per directed pair, each with an epoch of its own
(:mod:`cluster.channel.single_socket_channel`). Nothing flows back, so that a one-way cut is
one link.

Bounds: frames wait in a queue while the connection is being made or the peer does not read. Beyond
``QUEUE_BYTES_MAX`` the oldest are dropped: the protocol repeats what matters and the newest says
more, and a stopped peer must not cost this node its memory. A connection whose bytes are not
acknowledged for ``SILENCE_MS`` is given up (TCP_USER_TIMEOUT), so that after a cut that swallowed
packets a new one is made at once, rather than when TCP's backed-off retransmission wakes up.

A peer that refuses this node says why before it hangs up, which is all that ever comes back. It is
dialled again as one that cannot be reached: after a longer and longer while.

Used by ``node``; runs in the event loop.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from cluster.consensus.membership import name_of
from cluster.runtime.ending import ended
from cluster.runtime.frames import BadFrame, encode_frame, response_decoder
from cluster.runtime.tls import HUNG_UP, why_failed
from cluster.wire import Hello

#: Bytes waiting for one peer; eight batches of the largest size.
QUEUE_BYTES_MAX = 8 * 1024 * 1024
#: Frames kept while there is no connection: older ones are stale when it comes.
QUEUE_FRAMES_OFFLINE_MAX = 64
#: A transport's own buffer beyond which frames wait in the queue instead.
TRANSPORT_BYTES_MAX = 1024 * 1024
SILENCE_MS = 3_000
CONNECT_TIMEOUT_S = 1.0
#: A connection with TLS that ends so soon was refused.
HUNG_UP_WITHIN_S = 0.5
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.02, 0.5


def tune(sock: socket.socket | None, *, silence_ms: int = SILENCE_MS) -> None:
    """Options of every connection: no delay, and no patience with a silent network."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)


class PeerLink(asyncio.Protocol):
    """The connection to one peer, made again whenever it ends.

    Args:
        peer: the peer's node id, which its certificate must state if there is TLS.
        host, port: where to dial.
        hello: makes the first frame of a connection, with a new epoch each time.
        tls: context for dialling, or None.
        changed: called with True when connected and False when lost.
        refused: called with the peer and a sentence when it does not take this node, or is not who
            it must be.
    """

    def __init__(
        self,
        peer: str,
        host: str,
        port: int,
        *,
        hello: Callable[[], Hello],
        tls: ssl.SSLContext | None,
        changed: Callable[[str, bool], None],
        refused: Callable[[str, str], None],
    ) -> None:
        self.peer = peer
        self.host, self.port = host, port
        self.sent_frames = self.sent_bytes = self.dropped_frames = self.connections = 0
        self._hello, self._tls, self._changed, self._refused = hello, tls, changed, refused
        self._decoder = response_decoder()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._made_s = 0.0
        #: whether the peer refused the connection that was made last
        self._turned_away = False
        self._transport: asyncio.Transport | None = None
        self._writable = False
        self._closed = False
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait here; those in the transport and the kernel are bounded too."""
        return self._queued_bytes

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._transport is not None

    def start(self) -> None:
        """Begin dialling."""
        self._task = asyncio.get_running_loop().create_task(self._dial_forever())

    def send(self, frame: bytes) -> None:
        """Queue a frame; it goes out with all others at the next :meth:`flush`."""
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if not self._writable:
            self._bound()

    def flush(self) -> None:
        """Write all that waits, if there is a connection and the peer reads."""
        if not self._writable or self._transport is None or not self._queue:
            return
        data = self._queue[0] if len(self._queue) == 1 else b"".join(self._queue)
        self.sent_frames += len(self._queue)
        self.sent_bytes += len(data)
        self._queue.clear()
        self._queued_bytes = 0
        self._transport.write(data)

    async def close(self) -> None:
        """End the connection and dial no more."""
        self._closed = True
        if self._task is not None:
            await ended(self._task)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: say hello, then send what waits."""
        if self._transport is not None or self._closed:  # a dial that was given up, and made it
            cast(asyncio.Transport, transport).abort()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=TRANSPORT_BYTES_MAX)
        tune(transport.get_extra_info("socket"))
        self.connections += 1
        self._decoder = response_decoder()
        self._made_s = time.monotonic()
        self._turned_away = False
        self._lost.clear()
        self._transport.write(encode_frame(self._hello()))
        self._writable = True
        self.flush()
        self._changed(self.peer, True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what it had not delivered is lost."""
        self._transport, self._writable = None, False
        self._lost.set()
        why = why_failed(exc)
        if self._tls is not None and time.monotonic() - self._made_s < HUNG_UP_WITHIN_S:
            why = why or HUNG_UP
        if why and not self._closed:
            self._refuse(why)
        if not self._closed:
            self._changed(self.peer, False)

    def data_received(self, data: bytes) -> None:
        """Last words: the peer does not take this node."""
        try:
            answers = self._decoder.feed(data)
        except BadFrame as error:
            self._refuse(f"it answers {error}")
            if self._transport is not None:
                self._transport.abort()
            return
        for answer in answers:
            self._refuse(answer.error)

    def pause_writing(self) -> None:
        """The peer does not read as fast as this node sends."""
        self._writable = False

    def resume_writing(self) -> None:
        """It does again."""
        self._writable = True
        self.flush()

    def _refuse(self, why: str) -> None:
        self._turned_away = True
        self._refused(self.peer, why)

    def _bound(self) -> None:
        while self._queue and (
            self._queued_bytes > QUEUE_BYTES_MAX
            or (self._transport is None and len(self._queue) > QUEUE_FRAMES_OFFLINE_MAX)
        ):
            self._queued_bytes -= len(self._queue.popleft())
            self.dropped_frames += 1

    async def _dial_forever(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while not self._closed:
            try:
                await self._dial()
            except (TimeoutError, OSError) as error:
                why = why_failed(error)
                if why:
                    self._refused(self.peer, why)
                failed = True
            else:
                await self._lost.wait()
                failed = self._turned_away
            backoff_s = min(BACKOFF_MAX_S, backoff_s * 2) if failed else BACKOFF_MIN_S
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.5))

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if self._tls is not None:
            tls = {"ssl": self._tls, "server_hostname": name_of(self.peer)}
        # Not wait_for, which may swallow a cancellation that comes as the dial ends.
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await loop.create_connection(lambda: self, self.host, self.port, **tls)
