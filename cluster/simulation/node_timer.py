"""The one timer of a node's life: asked for in the node's own time, kept in virtual time.

A core asks again and again for a later time, and most calls only move the timer on. The event on
the heap is then left where it is, and looks again when it comes. A timer belongs to one life of a
node: once closed it never fires.

Used by :mod:`cluster.simulation.node`.
"""

from __future__ import annotations

from collections.abc import Callable

from cluster.simulation.clock import SimClock
from cluster.simulation.heap import EventHeap


class NodeTimer:
    """A timer.

    Args:
        heap: virtual time.
        clock: the node's clocks.
        fire: called when it is due and may run.
        may_run: whether timers run by themselves now; one that may not stays due.
    """

    __slots__ = ("_clock", "_closed", "_event_ns", "_fire", "_heap", "_may_run", "at_ns")

    def __init__(
        self,
        heap: EventHeap,
        clock: SimClock,
        fire: Callable[[], None],
        may_run: Callable[[], bool],
    ) -> None:
        self._heap, self._clock, self._fire, self._may_run = heap, clock, fire, may_run
        #: virtual time at which it is due; -1 if it was not asked for
        self.at_ns = -1
        self._event_ns = -1
        self._closed = False

    def set(self, monotonic_ns: int) -> None:
        """Be due when the node's monotonic clock shows this."""
        self.at_ns = due = self._clock.virtual_ns(monotonic_ns, self._heap.now_ns)
        if self._event_ns < 0 or due < self._event_ns:
            self._event_ns = due
            self._heap.push(due, self._event, due)

    def taken(self) -> None:
        """The core has handled the time: no wake-up is due until it asks for the next."""
        self.at_ns = -1

    @property
    def late(self) -> bool:
        """Whether it is due."""
        return 0 <= self.at_ns <= self._heap.now_ns

    def monotonic_ns(self) -> int:
        """The node's clock time at which it is due; -1 if none is set."""
        return self._clock.monotonic_ns(self.at_ns) if self.at_ns >= 0 else -1

    def rearm(self) -> None:
        """Timers run by themselves again: look at this one."""
        if self.at_ns >= 0:
            self._event_ns = at_ns = max(self.at_ns, self._heap.now_ns)
            self._heap.push(at_ns, self._event, at_ns)

    def close(self) -> None:
        """This life of the node is over."""
        self._closed, self.at_ns = True, -1

    def _event(self, due: int) -> None:
        if self._closed or due != self._event_ns:
            return
        self._event_ns = -1
        if self.at_ns < 0:
            return
        if self.at_ns > self._heap.now_ns:
            self._event_ns = self.at_ns
            self._heap.push(self.at_ns, self._event, self.at_ns)
        elif self._may_run():
            self._fire()
