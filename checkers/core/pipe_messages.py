"""Messages between processes of ours over pipes: a length and MessagePack, never code.

A value that MessagePack cannot represent (an integer beyond 64 bits, a foreign object) arrives as
its text. Such values are only shown, never checked, on the other side.
"""

from __future__ import annotations

from typing import IO, TypeVar

import msgspec

T = TypeVar("T")

_LENGTH_BYTES = 8


def send(stream: IO[bytes], message: object) -> None:
    """Write one message and flush.

    Raises:
        OSError: the reader is gone.
        TypeError, ValueError: the message is of no kind that can be sent.
    """
    try:
        body = msgspec.msgpack.encode(message, enc_hook=repr)
    except OverflowError:
        body = msgspec.msgpack.encode(_small(msgspec.to_builtins(message, enc_hook=repr)))
    stream.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
    stream.flush()


def receive(stream: IO[bytes], kind: type[T]) -> T:
    """Read one message.

    Raises:
        EOFError: the writer is gone, perhaps within a message.
        msgspec.DecodeError: it is no message of this kind.
    """
    head = _exactly(stream, _LENGTH_BYTES)
    return msgspec.msgpack.decode(_exactly(stream, int.from_bytes(head, "big")), type=kind)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if data is None or len(data) < count:
        raise EOFError("the pipe was closed within a message")
    return data


def _small(value: object) -> object:
    """A value without integers beyond 64 bits."""
    if isinstance(value, dict):
        return {_small(key): _small(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_small(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value
