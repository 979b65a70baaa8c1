"""One direction of one proxied connection, and the directed link it belongs to.

A proxied connection has two flows. The one from dialler to target belongs to the link
(dialler, target), the other to (target, dialler), so one-way faults hit exactly what a network
would lose in that direction.

The effect of a cut, by kind of traffic:

- ``frames``: whole messages are lost while the link is cut; connections survive, and what is sent
  after healing arrives. The first frame of a connection (who speaks) is held, never lost, so that a
  connection made during the cut works after it. A sender is never blocked by a cut.
- ``bytes``: what TCP does. The bytes in flight are held, then delivered after healing (the
  retransmission); meanwhile the sender sees its buffers fill. Nothing is reset. Real TCP gives up
  after many minutes; this never does.

In both kinds the end of a stream (a close or a reset) is a message like any other: across a cut the
other side does not learn of it until the link is healed. When the receiver stops reading (SIGSTOP)
the proxy's buffers fill and then the sender's, and all of it flows when the receiver goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from random import Random

from harness.environments.base import LinkFault
from harness.environments.network.shaper import Shaper

HELD_BYTES_MAX = 256 * 1024
QUEUE_BYTES_MAX = 4 * 1024 * 1024
FRAME_BYTES_MAX = 64 * 1024 * 1024
#: the most a rate-limited stream sends at once: a network packet
PIECE_BYTES = 1448
_LENGTH = struct.Struct(">I")


class Link:
    """A directed link between two nodes: its fault, its counters, and the flows on it now."""

    def __init__(self, rng: Random) -> None:
        self.shaper = Shaper(rng)
        #: insertion-ordered, so that healing wakes flows in the order they began
        self.flows: dict[Flow, None] = {}
        #: what to call when the link changes: connections waiting to be made
        self.waiting: dict[Callable[[], None], None] = {}

    @property
    def cut(self) -> bool:
        """Whether nothing passes now."""
        return self.shaper.fault.cut

    def set(self, fault: LinkFault) -> None:
        """The link is like this from now on."""
        self.shaper.set(fault)
        for flow in list(self.flows):
            flow.link_changed()
        for wake in list(self.waiting):
            wake()


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a TCP reset, as a kernel answers for a dead process."""
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Flow:
    """Moves bytes from one transport to another under a link's fault.

    Args:
        link: the directed link.
        frames: whether the traffic is length-prefixed frames.
        source: where bytes come from; it is paused when too much waits here.
        on_end: called once, when the end of the stream has been passed on.
    """

    def __init__(
        self,
        link: Link,
        *,
        frames: bool,
        source: asyncio.Transport,
        on_end: Callable[[], None],
    ) -> None:
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._frames = frames
        self._source = source
        self._sink: asyncio.Transport | None = None
        self._partial = bytearray()
        self._held: deque[bytes] = deque()
        self._queue: list[tuple[int, int, bytes]] = []
        self._queue_bytes = 0
        self._order_ns = 0
        self._number = 0
        self._first = frames
        self._ending = ""
        self._ended = False
        self._sink_full = False
        self._source_paused = False
        self._timer: asyncio.TimerHandle | None = None
        link.flows[self] = None

    # -- from the connection -------------------------------------------------------------------

    def connected(self, sink: asyncio.Transport) -> None:
        """Bytes can be delivered from now on."""
        self._sink = sink
        self.link_changed()

    def feed(self, data: bytes) -> None:
        """Bytes arrived from the source."""
        if self._frames:
            self._feed_frames(data)
        else:
            self._feed_bytes(data)
        self._control_source()

    def end(self, how: str) -> None:
        """The source ended: ``eof`` (it closed its writing side) or ``reset``."""
        if not self._ending or how == "reset":
            self._ending = how
        self._finish_if_empty()

    def sink_full(self, full: bool) -> None:
        """The sink's buffer is full, or no longer."""
        self._sink_full = full
        self._control_source()

    @property
    def ended(self) -> bool:
        """Whether nothing more will pass here."""
        return self._ended

    def abandon(self) -> None:
        """Nothing will ever be delivered any more."""
        self._ended = True
        self._link.flows.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
        self._held.clear()
        self._queue.clear()

    def link_changed(self) -> None:
        """The link has another fault now: let go what a cut held, if it is healed."""
        if self._sink is None or self._ended:
            return
        while self._held and not self._link.cut:
            self._schedule(self._held.popleft())
        self._deliver_due()
        self._control_source()

    # -- frames --------------------------------------------------------------------------------

    def _feed_frames(self, data: bytes) -> None:
        self._partial += data
        if not self._first and self._direct:
            whole, count = self._whole_frames()
            if count:
                self._link.shaper.counters["passed"] += count
                self._write(bytes(self._partial[:whole]))
                del self._partial[:whole]
            return
        while (size := self._frame_size()) is not None and len(self._partial) >= size:
            frame = bytes(self._partial[:size])
            del self._partial[:size]
            self._one_frame(frame)

    def _one_frame(self, frame: bytes) -> None:
        if self._first or (self._sink is None and not self._link.cut):
            self._first = False
            self._hold(frame)
            return
        if self._held and not self._link.cut:
            self._held.append(frame)
            return
        for due_ns, ordered in self._link.shaper.frame(self._now_ns(), len(frame)):
            self._enqueue(due_ns, frame, ordered=ordered)
        self._deliver_due()

    def _frame_size(self) -> int | None:
        if len(self._partial) < 4:
            return None
        (length,) = _LENGTH.unpack_from(self._partial)
        if length > FRAME_BYTES_MAX:
            # Not our protocol after all: move it as plain bytes, whole.
            return len(self._partial)
        return int(length) + 4

    def _whole_frames(self) -> tuple[int, int]:
        position = count = 0
        partial, end = self._partial, len(self._partial)
        while end - position >= 4:
            (length,) = _LENGTH.unpack_from(partial, position)
            following = end if length > FRAME_BYTES_MAX else position + 4 + length
            if following > end:
                break
            position, count = following, count + 1
        return position, count

    # -- bytes ---------------------------------------------------------------------------------

    def _feed_bytes(self, data: bytes) -> None:
        if self._direct:
            self._link.shaper.counters["passed"] += 1
            self._write(data)
        elif self._sink is None or self._link.cut or self._held:
            self._hold(data)
        else:
            self._schedule(data)
            self._deliver_due()

    def _hold(self, data: bytes) -> None:
        if self._sink is not None and not self._link.cut and not self._held:
            self._schedule(data)
            self._deliver_due()
            return
        if self._link.cut:
            self._link.shaper.counters["held"] += 1
        self._held.append(data)

    def _schedule(self, data: bytes) -> None:
        """Give held or fresh data its time; never loses anything."""
        shaper = self._link.shaper
        if self._frames or not shaper.fault.rate_bytes_per_s:
            self._enqueue(shaper.piece(self._now_ns(), len(data)), data)
            return
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            self._enqueue(shaper.piece(self._now_ns(), len(piece)), piece)

    # -- delivery ------------------------------------------------------------------------------

    @property
    def _direct(self) -> bool:
        return (
            self._sink is not None
            and not self._queue
            and not self._held
            and self._link.shaper.healthy
        )

    def _now_ns(self) -> int:
        # Not the loop's time, which uvloop reads once a turn: messages would be early by that.
        return time.monotonic_ns()

    def _enqueue(self, due_ns: int, data: bytes, *, ordered: bool = True) -> None:
        if ordered:
            due_ns = self._order_ns = max(due_ns, self._order_ns)
        self._number += 1
        self._queue_bytes += len(data)
        heapq.heappush(self._queue, (due_ns, self._number, data))

    def _deliver_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_ns = self._now_ns()
        while self._queue and self._queue[0][0] <= now_ns and not self._blocked_by_cut:
            _, _, data = heapq.heappop(self._queue)
            self._queue_bytes -= len(data)
            self._write(data)
        if self._queue and not self._blocked_by_cut:
            # Loops count milliseconds; one that is rounded down would come before its time.
            delay_ms = -(-max(0, self._queue[0][0] - now_ns) // 1_000_000)
            self._timer = self._loop.call_later(delay_ms / 1000, self._timer_fired)
        self._finish_if_empty()

    @property
    def _blocked_by_cut(self) -> bool:
        # Messages already on the wire arrive; a stream's bytes wait, since no side acknowledges.
        return self._link.cut and not self._frames

    def _timer_fired(self) -> None:
        self._timer = None
        self._deliver_due()
        self._control_source()

    def _write(self, data: bytes) -> None:
        if self._sink is not None and not self._sink.is_closing():
            self._link.shaper.counters["bytes"] += len(data)
            self._sink.write(data)

    def _finish_if_empty(self) -> None:
        if not self._ending or self._ended or self._link.cut or self._sink is None:
            return
        if self._queue or self._held:
            return
        self._ended = True
        self._link.flows.pop(self, None)
        if not self._sink.is_closing():
            if self._ending == "reset":
                reset(self._sink)
            elif self._sink.can_write_eof():
                try:
                    self._sink.write_eof()
                except OSError:
                    # The other side reset it meanwhile: its loop has not noticed yet.
                    self._sink.abort()
        self._on_end()

    def _control_source(self) -> None:
        held_bytes = sum(map(len, self._held)) if self._held else 0
        full = self._sink_full or held_bytes > HELD_BYTES_MAX or self._queue_bytes > QUEUE_BYTES_MAX
        if full == self._source_paused or self._source.is_closing():
            return
        self._source_paused = full
        if full:
            self._source.pause_reading()
        else:
            self._source.resume_reading()
