"""Closed-loop load for the cluster benchmark: one lean client per connection, ours and etcd's.

Both sides get the same kind of client, an ``asyncio.Protocol`` which sends its next request when
the last one was answered, so that the generator costs each about the same: frames of ours, and for
etcd gRPC over HTTP/2 with just what etcd's KV service needs. What is the same in each request of a
key is made once. An answer that is not a success ends the measurement with an error.
"""

from __future__ import annotations

import asyncio
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import msgspec

from cluster.runtime.frames import encode_frame, response_decoder
from cluster.wire import Command, Hello, Request

KEYS_PER_CLIENT = 100


class Measurement(msgspec.Struct, frozen=True):
    """Operations per second and latencies of one closed-loop run."""

    clients: int
    ops_per_s: float
    ms_p50: float
    ms_p99: float


class Loop(asyncio.Protocol, ABC):
    """One client, which sends its next request when the last one was answered."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.failure = ""
        self.ready = asyncio.get_running_loop().create_future()
        self._sent = 0
        self._running = False
        self._at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(self.preface())

    def data_received(self, data: bytes) -> None:
        try:
            answers = self.answered(data)
        except RuntimeError as error:
            self.failure = str(error)
            self.transport.abort()
            return
        for _ in range(answers):
            if not self.ready.done():
                self.ready.set_result(None)
            elif self._running:
                now = time.perf_counter()
                self.latencies_s.append(now - self._at)
                self._next(now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.failure = self.failure or f"connection lost: {exc}"

    def start(self) -> None:
        self._running = True
        self._next(time.perf_counter())

    def stop(self) -> None:
        self._running = False

    def _next(self, now: float) -> None:
        self._at = now
        self._sent += 1
        self.transport.write(self.request(self._sent))

    @abstractmethod
    def preface(self) -> bytes:
        """What is sent first; its answer says that the client is ready."""

    @abstractmethod
    def request(self, number: int) -> bytes:
        """The request with this number, counted from 1."""

    @abstractmethod
    def answered(self, data: bytes) -> int:
        """How many answers these bytes complete.

        Raises:
            RuntimeError: one is no success.
        """


class OurLoop(Loop):
    """A client of the reference cluster; its first request tells it a revision to begin after."""

    def __init__(self, name: str, op: str, value: str) -> None:
        super().__init__()
        self._name, self._op = name, op
        self._decoder = response_decoder()
        self._opened_after = 0
        self._keys = [f"{name}-{number}" for number in range(KEYS_PER_CLIENT)]
        self._values = (value,)
        #: one request is under way at a time, so those of a key may have the same id
        self._gets = [
            encode_frame(Request(number, name, 0, 1, Command("get", key)))
            for number, key in enumerate(self._keys)
        ]

    def preface(self) -> bytes:
        probe = Request(0, self._name, 0, 1, Command("get", ""), "stale")
        return encode_frame(Hello("bench", self._name, peer=False)) + encode_frame(probe)

    def request(self, number: int) -> bytes:
        at = number % KEYS_PER_CLIENT
        if self._op == "get":
            return self._gets[at]
        command = Command("put", self._keys[at], self._values)
        return encode_frame(
            Request(number, self._name, number, number, command, opened_after=self._opened_after)
        )

    def answered(self, data: bytes) -> int:
        responses = self._decoder.feed(data)
        for response in responses:
            if response.status != "ok":
                raise RuntimeError(f"{response.status}: {response.error}")
            self._opened_after = self._opened_after or response.revision
        return len(responses)


_number = struct.Struct(">I").pack
_length_kind_flags = struct.Struct(">IB").unpack_from


def _h2(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + body


def _field(number: int, data: bytes) -> bytes:
    length, out = len(data), bytearray([number << 3 | 2])
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    out.append(length)
    return bytes(out) + data


def _literal(index: bytes, value: str) -> bytes:
    return index + bytes([len(value)]) + value.encode()


class EtcdLoop(Loop):
    """A client of etcd's KV service: HTTP/2 frames by hand, one stream per request."""

    def __init__(self, name: str, op: str, value: str) -> None:
        super().__init__()
        self._rest = b""
        self._has_data = False
        path = "/etcdserverpb.KV/Put" if op == "put" else "/etcdserverpb.KV/Range"
        headers = b"".join((
            b"\x83\x86",
            _literal(b"\x04", path),
            _literal(b"\x01", "localhost"),
            _literal(b"\x0f\x10", "application/grpc"),
            _literal(b"\x00\x02te", "trailers"),
        ))  # fmt: skip
        #: how the frame of the headers begins; its stream comes next
        self._begin = len(headers).to_bytes(3, "big") + b"\x01\x04"
        #: of each key: the headers with the beginning of the next frame, and the message
        self._data: list[tuple[bytes, bytes]] = []
        for number in range(KEYS_PER_CLIENT):
            message = _field(1, f"{name}-{number}".encode())
            if op == "put":
                message += _field(2, value.encode())
            body = b"\0" + struct.pack(">I", len(message)) + message
            self._data.append((headers + len(body).to_bytes(3, "big") + b"\0\x01", body))

    def preface(self) -> bytes:
        window = (1 << 31) - 1
        settings = _h2(4, 0, 0, struct.pack(">HI", 4, window))
        update = _h2(8, 0, 0, struct.pack(">I", window - 65_535))
        return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + update + self.request(0)

    def request(self, number: int) -> bytes:
        stream = _number(2 * number + 1)
        between, body = self._data[number % KEYS_PER_CLIENT]
        return self._begin + stream + between + stream + body

    def answered(self, data: bytes) -> int:
        if self._rest:
            data = self._rest + data
        offset, answers, size = 0, 0, len(data)
        while size - offset >= 9:
            length_and_kind, flags = _length_kind_flags(data, offset)
            end = offset + 9 + (length_and_kind >> 8)
            if end > size:
                break
            answers += self._frame(length_and_kind & 255, flags, data[offset + 9 : end])
            offset = end
        self._rest = data[offset:]
        return answers

    def _frame(self, kind: int, flags: int, body: bytes) -> int:
        if kind == 0 and len(body) > 5:
            self._has_data = True
        elif kind == 4 and not flags & 1:
            self.transport.write(_h2(4, 1, 0, b""))
        elif kind == 6 and not flags & 1:
            self.transport.write(_h2(6, 1, 0, body))
        elif kind in (3, 7):
            raise RuntimeError(f"etcd ended the stream: frame type {kind}")
        elif kind == 1 and flags & 1:
            if not self._has_data:
                raise RuntimeError(f"etcd refused the request: {body!r}")
            self._has_data = False
            return 1
        return 0


async def measure(
    make: Callable[[int], Loop], host: str, port: int, *, clients: int, seconds: float
) -> Measurement:
    """Run so many closed loops against one address for so long, after a short warm-up.

    Raises:
        RuntimeError: an operation failed.
    """
    event_loop = asyncio.get_running_loop()
    loops: list[Loop] = []
    for number in range(clients):
        _, loop = await event_loop.create_connection(partial(make, number), host, port)
        loops.append(loop)
    await asyncio.wait_for(asyncio.gather(*(loop.ready for loop in loops)), 20)
    for loop in loops:
        loop.start()
    await asyncio.sleep(min(1.0, seconds / 4))
    for loop in loops:
        loop.latencies_s.clear()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    for loop in loops:
        loop.stop()
    failures = [loop.failure for loop in loops if loop.failure]
    for loop in loops:
        loop.transport.abort()
    if failures:
        raise RuntimeError(failures[0])
    latencies = sorted(s for loop in loops for s in loop.latencies_s)
    if not latencies:
        raise RuntimeError("no operation was answered")
    return Measurement(
        clients,
        len(latencies) / took,
        latencies[len(latencies) // 2] * 1e3,
        latencies[len(latencies) * 99 // 100] * 1e3,
    )
