"""Attacks on the port of a node, bounded in count and time, in a process of their own.

python attackers.py KIND SECONDS HOST:PORT ...
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import struct
import sys
import time
from collections.abc import Awaitable, Callable

from cluster.runtime.frames import encode_frame
from cluster.wire import Hello

HELLO = encode_frame(Hello("splitbrain", "attacker", peer=False))
#: A request whose argument is an array in an array, and so on.
DEEP = b"\x98\xa7request\x01\xa1s\x01\x01\x93\xa3put\xa1x" + b"\x91" * 100_000 + b"\xc0"
#: A TLS record that says it is the beginning of a handshake, and goes on never.
HALF_HANDSHAKE = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
PAUSE_S = 0.2

Address = tuple[str, int]
Attack = Callable[[Address], Awaitable[None]]


async def dialled(address: Address, first: bytes = b"") -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection(*address)
    writer.write(first)
    return writer


async def giant_frame(address: Address) -> None:
    """Nearly all of the longest frame a client may send, in small pieces, and one too long."""
    for hello, size in ((HELLO, 8 * 1024 * 1024), (HELLO, 64 * 1024 * 1024), (b"", 64 * 1024)):
        with contextlib.suppress(OSError):
            writer = await dialled(address, hello + struct.pack(">I", size))
            for _ in range(size // 65536 - 1):
                writer.write(bytes(64 * 1024))
                await writer.drain()
            writer.close()


async def slow_loris(address: Address) -> None:
    """A byte now and then, of frames that never end."""
    writers = [await dialled(address, HELLO + b"\0\0\xff\xff") for _ in range(50)]
    writers += [await dialled(address, b"\0\0") for _ in range(50)]
    for _ in range(20):
        for writer in writers:
            writer.write(b"\x01")
        await asyncio.sleep(0.1)


async def deep_msgpack(address: Address) -> None:
    for first in (HELLO, b""):
        writer = await dialled(address, first + struct.pack(">I", len(DEEP)) + DEEP)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()


async def garbage(address: Address) -> None:
    web = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for first in (web, b"\0\0\0\1\xc1", b"\x16\x03\1\2\0", bytes(9), HELLO + b"\xff" * 99):
        for _ in range(10):
            writer = await dialled(address, first)
            writer.close()


async def connections(address: Address) -> None:
    """Many at once, with and without a hello, that then say nothing."""
    for number in range(1000):
        with contextlib.suppress(OSError):
            await dialled(address, HELLO if number % 2 else b"")


async def half_handshakes(address: Address) -> None:
    for number in range(300):
        with contextlib.suppress(OSError):
            await dialled(address, HALF_HANDSHAKE if number % 2 else b"")


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (giant_frame, slow_loris, deep_msgpack, garbage, connections, half_handshakes)
}


async def attack_all(attack: Attack, addresses: list[Address], seconds: float) -> None:
    end = time.monotonic() + seconds

    async def repeat(address: Address) -> None:
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                await attack(address)
            await asyncio.sleep(PAUSE_S)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*map(repeat, addresses))


if __name__ == "__main__":
    _soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_hard, 8192), _hard))
    kind, limit_s, *places = sys.argv[1:]
    targets = [(place.rpartition(":")[0], int(place.rpartition(":")[2])) for place in places]
    asyncio.run(attack_all(ATTACKS[kind], targets, float(limit_s)))
