"""Virtual time: the events of a world, in order, run as far as the caller likes.

Used by :class:`cluster.simulation.world.World`, whose methods these are.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any

from cluster.simulation.heap import EventHeap, Handle

MS = 1_000_000


class VirtualTime:
    """Runs the events of a heap.

    Args:
        heap: the events.
    """

    __slots__ = ("heap",)

    def __init__(self, heap: EventHeap) -> None:
        self.heap = heap

    def at(self, delay_ns: int, function: Callable[..., Any], *arguments: Any) -> Handle:
        """Call ``function(*arguments)`` after ``delay_ns``; the handle can cancel it."""
        handle = Handle(function, arguments)
        self.heap.push(self.heap.now_ns + delay_ns, handle.fire)
        return handle

    def step(self) -> bool:
        """Run the next event; False if there is none."""
        return self.heap.step()

    def step_until(self, waiting: Sized, most: int) -> bool:
        """Run events until there is something in ``waiting``, at most ``most`` of them; False if
        there was none."""
        return self.heap.step_until(waiting, most)

    def run_for(self, duration_ns: int) -> int:
        """Let this much time pass; returns the number of events."""
        return self.heap.run_until(self.heap.now_ns + duration_ns)

    def run_until(self, predicate: Callable[[], bool], limit_ns: int) -> bool:
        """Run until the predicate holds, looked at after every event, at most ``limit_ns``.

        Returns:
            Whether it holds. If not, all of ``limit_ns`` has passed.
        """
        heap, end_ns = self.heap, self.heap.now_ns + limit_ns
        while not predicate():
            next_ns = heap.next_ns()
            if next_ns is None or next_ns > end_ns:
                heap.run_until(end_ns)
                return predicate()
            heap.step()
        return True

    def run_until_every(
        self, predicate: Callable[[], bool], limit_ns: int, *, every_ns: int = 10 * MS
    ) -> bool:
        """Like :meth:`run_until`, for predicates too costly to look at after every event."""
        end_ns = self.heap.now_ns + limit_ns
        while not predicate():
            if self.heap.now_ns >= end_ns:
                return False
            self.heap.run_until(min(end_ns, self.heap.now_ns + every_ns))
        return True
