"""Frames: length-prefixed MessagePack, both ways.

Four bytes of length, big endian, then the body (see ``cluster.wire``). All frames of one read are
decoded at once, and a message sent to several peers is encoded once. A frame longer than the
decoder's limit, or one that is no message of ours, is a :class:`BadFrame`: the connection that sent
it must be closed, for the stream has lost its boundaries or the speaker is not ours.

A half frame is held until the rest comes, and each of its bytes is copied a fixed number of times,
however small the reads: joining it anew at each read costs the square of its length, and one frame
of 64 MB in small pieces then stops a node for minutes.

Pure; used by the node's connections and by the asyncio client.
"""

from __future__ import annotations

import struct
from typing import Generic, TypeVar

import msgspec

from cluster.wire import FRAME_BYTES_MAX, Frame, Response

_LENGTH = struct.Struct(">I")
_length, _length_at = _LENGTH.pack, _LENGTH.unpack_from
_encode = msgspec.msgpack.Encoder().encode
#: To copy a frame that is smaller costs less than a view of it.
SMALL_BYTES = 1024
#: How a TLS record of a handshake begins: what a client with TLS says first.
_TLS_HANDSHAKE = b"\x16\x03"

T = TypeVar("T")


class BadFrame(Exception):
    """The bytes received are no frame of this protocol."""


def encode_frame(message: Frame) -> bytes:
    """A message as one frame."""
    body = _encode(message)
    return _length(len(body)) + body


class FrameDecoder(Generic[T]):
    """Cuts a byte stream into messages of one type.

    Args:
        decoder: decoder of one body.
        frame_bytes_max: the longest body; may be changed between two calls.
    """

    __slots__ = ("_decode", "_half", "_wanted", "frame_bytes_max", "held_bytes")

    def __init__(
        self, decoder: msgspec.msgpack.Decoder[T], *, frame_bytes_max: int = FRAME_BYTES_MAX
    ) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._decode = decoder.decode
        self._half = bytearray()
        self._wanted = 4
        #: bytes of a half frame that wait for the rest
        self.held_bytes = 0

    def feed(self, data: bytes, *, messages_max: int = 0) -> list[T]:
        """Every message completed by these bytes, in order.

        Args:
            data: what was read.
            messages_max: take no more than these now, and hold the rest; 0 to take all.

        Raises:
            BadFrame: the stream is not ours.
        """
        if self.held_bytes:
            data = self._joined(data)
        messages: list[T] = []
        offset, size = 0, len(data)
        try:
            if 4 < size < SMALL_BYTES and _length_at(data)[0] == size - 4 <= self.frame_bytes_max:
                return [self._decode(data[4:])]  # one frame, as most reads are
            view = memoryview(data)
            while size - offset >= 4:
                (length,) = _length_at(data, offset)
                if length > self.frame_bytes_max:
                    raise BadFrame(self._too_long(length, data[offset : offset + 2]))
                end = offset + 4 + length
                if end > size:
                    self._wanted = 4 + length
                    break
                messages.append(self._decode(view[offset + 4 : end]))
                offset = end
                if len(messages) == messages_max:
                    break
        except RecursionError:
            raise BadFrame("a frame that is no message: it is nested too deeply") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError) as error:
            raise BadFrame(f"a frame that is no message: {str(error)[:200]}") from None
        if offset < size:
            self._half += view[offset:]
            self.held_bytes = len(self._half)
        return messages

    def _joined(self, data: bytes) -> bytes:
        """What is held and these bytes, if they complete a frame; else nothing yet."""
        self._half += data
        self.held_bytes = len(self._half)
        if self.held_bytes < self._wanted:
            return b""
        data = bytes(self._half)
        self._half, self.held_bytes, self._wanted = bytearray(), 0, 4
        return data

    def _too_long(self, length: int, begin: bytes) -> str:
        if begin == _TLS_HANDSHAKE:
            return "it speaks TLS, and this node was started without certificates"
        return f"a frame of {length} bytes, and the most is {self.frame_bytes_max}"


def frame_decoder(*, frame_bytes_max: int = FRAME_BYTES_MAX) -> FrameDecoder[Frame]:
    """A decoder of everything a node may receive."""
    return FrameDecoder(_FRAME, frame_bytes_max=frame_bytes_max)


def response_decoder() -> FrameDecoder[Response]:
    """A decoder of what the dialling side may receive: answers, or the reason of a refusal."""
    return FrameDecoder(_RESPONSE)


_FRAME: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
_RESPONSE: msgspec.msgpack.Decoder[Response] = msgspec.msgpack.Decoder(Response)
