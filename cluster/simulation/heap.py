"""Virtual time: a heap of events in integer nanoseconds.

Two events at the same nanosecond happen in the order they were scheduled: the tie is broken by a
sequence number, never by what the event is. That, and nothing else, makes a run repeatable.

Used by :class:`cluster.simulation.world.World` only.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sized
from typing import Any

Event = tuple[int, int, Callable[..., Any], tuple[Any, ...]]


class Handle:
    """A scheduled call that may be cancelled."""

    __slots__ = ("_arguments", "_function")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function: Callable[..., Any] | None = function
        self._arguments = arguments

    def cancel(self) -> None:
        """Never call it. Harmless after the call or a second time."""
        self._function = None
        self._arguments = ()

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled or has already run."""
        return self._function is None

    def fire(self) -> None:
        """Run it, once."""
        function, arguments = self._function, self._arguments
        self._function = None
        if function is not None:
            function(*arguments)


class EventHeap:
    """Events in order of time, then of scheduling."""

    __slots__ = ("_heap", "_sequence", "now_ns")

    def __init__(self) -> None:
        self.now_ns = 0
        self._heap: list[Event] = []
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, at_ns: int, function: Callable[..., Any], *arguments: Any) -> None:
        """Call ``function(*arguments)`` at ``at_ns``; a time in the past means now."""
        self._sequence = sequence = self._sequence + 1
        if at_ns < self.now_ns:
            at_ns = self.now_ns
        heapq.heappush(self._heap, (at_ns, sequence, function, arguments))

    def next_ns(self) -> int | None:
        """Time of the next event, or None if there is none."""
        return self._heap[0][0] if self._heap else None

    def step(self) -> bool:
        """Run the next event; False if there is none."""
        if not self._heap:
            return False
        self.now_ns, _, function, arguments = heapq.heappop(self._heap)
        function(*arguments)
        return True

    def step_until(self, waiting: Sized, most: int) -> bool:
        """Run events until there is something in ``waiting``, at most ``most`` of them.

        Returns:
            False if there was no event.
        """
        heap, pop = self._heap, heapq.heappop
        if not heap:
            return False
        while heap and most and not waiting:
            self.now_ns, _, function, arguments = pop(heap)
            function(*arguments)
            most -= 1
        return True

    def run_until(self, end_ns: int) -> int:
        """Run every event up to and including ``end_ns``; time is then ``end_ns``.

        Returns:
            The number of events run.
        """
        heap, pop, count = self._heap, heapq.heappop, 0
        while heap and heap[0][0] <= end_ns:
            self.now_ns, _, function, arguments = pop(heap)
            function(*arguments)
            count += 1
        if end_ns > self.now_ns:
            self.now_ns = end_ns
        return count
