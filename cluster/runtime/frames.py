"""Frames: length-prefixed MessagePack, both ways.

Four bytes of length, big endian, then the body (see ``cluster.wire``). All frames of one read are
decoded at once, and a message sent to several peers is encoded once. A frame longer than
``FRAME_BYTES_MAX``, or one that is no message of ours, is a :class:`BadFrame`: the connection that
sent it must be closed, for the stream has lost its boundaries or the speaker is not ours.

Pure; used by the node's connections and by the asyncio client.
"""

from __future__ import annotations

import struct
from typing import Generic, TypeVar

import msgspec

from cluster.wire import FRAME_BYTES_MAX, Frame, Response

_LENGTH = struct.Struct(">I")
_encode = msgspec.msgpack.Encoder().encode

T = TypeVar("T")


class BadFrame(Exception):
    """What arrived is no frame of ours."""


def encode_frame(message: Frame) -> bytes:
    """A message as one frame."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameDecoder(Generic[T]):
    """Cuts a byte stream into messages of one type.

    Args:
        decoder: decoder of one body.
    """

    __slots__ = ("_decode", "_rest")

    def __init__(self, decoder: msgspec.msgpack.Decoder[T]) -> None:
        self._decode = decoder.decode
        self._rest = b""

    def feed(self, data: bytes) -> list[T]:
        """Every message completed by these bytes, in order.

        Raises:
            BadFrame: the stream is not ours.
        """
        if self._rest:
            data = self._rest + data
        offset, size = 0, len(data)
        messages: list[T] = []
        view = memoryview(data)
        while size - offset >= 4:
            (length,) = _LENGTH.unpack_from(data, offset)
            if length > FRAME_BYTES_MAX:
                raise BadFrame(f"a frame of {length} bytes, and the most is {FRAME_BYTES_MAX}")
            end = offset + 4 + length
            if end > size:
                break
            messages.append(self._decoded(view[offset + 4 : end]))
            offset = end
        self._rest = bytes(view[offset:]) if offset < size else b""
        return messages

    def _decoded(self, body: memoryview) -> T:
        try:
            return self._decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadFrame(f"a frame that is no message: {error}") from None


def frame_decoder() -> FrameDecoder[Frame]:
    """A decoder of everything a node may receive."""
    return FrameDecoder(_FRAME)


def response_decoder() -> FrameDecoder[Response]:
    """A decoder of what a client may receive."""
    return FrameDecoder(_RESPONSE)


_FRAME: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
_RESPONSE: msgspec.msgpack.Decoder[Response] = msgspec.msgpack.Decoder(Response)
