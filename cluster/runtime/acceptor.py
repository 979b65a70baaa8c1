"""Accepting: a listening socket, handshakes of TLS, and a sentence for each that fails.

Problem: the event loop's own servers say nothing of a handshake that failed, wait a minute for one
that never ends, and take as many at once as there are descriptors. Solution: one task accepts, and
one task a connection finishes the handshake, within a time and in a bounded number; when there are
too many the oldest goes, since an honest one takes milliseconds. Beyond a number at once it accepts
at a bounded rate, and the system's backlog holds the others: those who are inside go first.

Used by ``node`` for both its ports; runs in the event loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from cluster.runtime import tls
from cluster.runtime.bucket import Bucket
from cluster.runtime.ending import ended
from cluster.runtime.frames import encode_frame
from cluster.wire import Response

HANDSHAKES_MAX = 256
ACCEPTS_AT_ONCE, ACCEPTS_PER_S = 128, 300.0
#: How long to wait when that is spent.
SPENT_S = 0.02
HANDSHAKE_TIMEOUT_S = 5.0
#: Pause after the system refused to accept: no descriptors are left.
EXHAUSTED_S = 0.1
#: First byte of a TLS handshake.
_TLS_RECORD = 0x16
NO_TLS = "it speaks no TLS, and this node demands it: --tls-ca, --tls-cert and --tls-key are needed"


class Acceptor:
    """Accepts connections on one socket.

    Args:
        listener: bound and listening.
        make: makes the protocol of a connection.
        context: of TLS, or None.
        refused: called with the address and a sentence for each connection that was not made.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        *,
        context: ssl.SSLContext | None,
        refused: Callable[[str, str], None],
    ) -> None:
        self._listener = listener
        self._make = make
        self._context = context
        self._refused = refused
        self._task: asyncio.Task[None] | None = None
        self._handshakes: dict[asyncio.Task[None], None] = {}
        self._accepts = Bucket(ACCEPTS_AT_ONCE, ACCEPTS_PER_S)

    def start(self) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        self._task = asyncio.get_running_loop().create_task(self._accept_forever())

    async def close(self) -> None:
        """Accept no more, and let go of the address."""
        if self._task is not None:
            await ended(self._task, *self._handshakes)
        self._listener.close()

    async def _accept_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._accepts.take():
                await asyncio.sleep(SPENT_S)
            try:
                sock, address = await loop.sock_accept(self._listener)
            except OSError as error:
                self._refused("a client", f"it cannot be accepted: {error.strerror or error}")
                self._give_up_oldest()
                await asyncio.sleep(EXHAUSTED_S)
                continue
            if len(self._handshakes) >= HANDSHAKES_MAX:
                self._give_up_oldest()
            task = loop.create_task(self._welcome(sock, str(address)))
            self._handshakes[task] = None
            task.add_done_callback(self._handshakes.pop)
            await asyncio.sleep(0)  # accepting may not wait at all, and others have their turn

    def _give_up_oldest(self) -> None:
        if self._handshakes:
            next(iter(self._handshakes)).cancel()

    async def _welcome(self, sock: socket.socket, address: str) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                if self._context is not None and not await _speaks_tls(sock):
                    self._refused(address, NO_TLS)
                    return
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._make, sock, ssl=self._context
                )
        except TimeoutError:
            self._refused(address, f"its TLS handshake took longer than {HANDSHAKE_TIMEOUT_S:g} s")
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise
        except (OSError, ssl.SSLError) as error:
            self._refused(address, tls.why_refused(error))


async def _speaks_tls(sock: socket.socket) -> bool:
    """Whether the first byte begins a TLS record; a client without TLS gets a plain refusal."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    first = sock.recv(1, socket.MSG_PEEK)
    if not first:
        sock.close()
        raise ConnectionResetError("it hung up before it spoke")
    if first[0] == _TLS_RECORD:
        return True
    sock.recv(1 << 16)  # what is not read when it is closed would take the answer with it
    sock.send(encode_frame(Response(0, "refused", error=NO_TLS)))
    sock.close()
    return False
