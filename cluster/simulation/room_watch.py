"""Looking after a full disk, in one life of a simulated node: is there room again, and must
leadership be handed over meanwhile? (:mod:`cluster.host.room` has the rule.)

Used by :mod:`cluster.simulation.node`.
"""

from __future__ import annotations

from collections.abc import Callable

from cluster.host.room import WATCH_S, Room
from cluster.simulation.disk import SimDisk
from cluster.simulation.heap import EventHeap
from cluster.wire import Request

WATCH_NS = int(WATCH_S * 1_000_000_000)


class RoomWatch:
    """Looks now and then, while there is no room.

    Args:
        heap: virtual time.
        disk: the node's.
        room: its rule.
        paused: whether the process is stopped: it does nothing then.
        ask: gives the core a request of the node itself.
    """

    __slots__ = ("_ask", "_closed", "_disk", "_heap", "_paused", "_under_way", "room")

    def __init__(
        self,
        heap: EventHeap,
        disk: SimDisk,
        room: Room,
        *,
        paused: Callable[[], bool],
        ask: Callable[[Request], None],
    ) -> None:
        self.room = room
        self._heap, self._disk, self._paused, self._ask = heap, disk, paused, ask
        self._under_way = self._closed = False

    def close(self) -> None:
        """This life of the node is over."""
        self._closed = True

    def look(self) -> None:
        """The disk's faults were set: begin to look, if there is no room."""
        if self._disk.full and not self._under_way:
            self._under_way = True
            self._look()

    def _look(self) -> None:
        if self._closed:
            return
        if not self._paused():
            request = self.room.hand_over()
            if request is not None:
                self._ask(request)
        self._under_way = not self._closed and (self._disk.full or self.room.full)
        if self._under_way:
            self._heap.push(self._heap.now_ns + WATCH_NS, self._look)
