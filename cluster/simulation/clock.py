"""A node's clocks in virtual time: a monotonic one whose rate may be wrong, a wall clock that may
be anywhere.

Every node's monotonic clock starts at an offset of its own, as on real machines, where it counts
from boot. A protocol that compares two nodes' monotonic clocks is thus wrong from the first event
on. Rates are kept in parts per million, so that all arithmetic is on integers.

Used by the simulated nodes; faults change it through ``World.set_clock``.
"""

from __future__ import annotations

from cluster.simulation.heap import EventHeap

PPM = 1_000_000

#: Wall time of virtual time zero: an arbitrary fixed date (2026-01-01T00:00:00Z).
EPOCH_NS = 1_767_225_600 * 1_000_000_000


class NodeClock:
    """The Clock port of a node: its clocks, as they show now.

    Args:
        clock: the node's.
        heap: virtual time.
    """

    __slots__ = ("_clock", "_heap")

    def __init__(self, clock: SimClock, heap: EventHeap) -> None:
        self._clock, self._heap = clock, heap

    def monotonic_ns(self) -> int:
        """The monotonic clock."""
        return self._clock.monotonic_ns(self._heap.now_ns)

    def wall_ns(self) -> int:
        """The wall clock."""
        return EPOCH_NS + self._heap.now_ns + self._clock.offset_ns


class SimClock:
    """The clocks of one node, as functions of virtual time.

    Args:
        boot_ns: what the monotonic clock shows at virtual time zero.
    """

    __slots__ = ("_base_ns", "_rate_ppm", "_since_ns", "offset_ns")

    def __init__(self, boot_ns: int) -> None:
        self._base_ns = boot_ns
        self._since_ns = 0
        self._rate_ppm = PPM
        self.offset_ns = 0

    @property
    def rate(self) -> float:
        """How fast the monotonic clock runs; 1.0 is right."""
        return self._rate_ppm / PPM

    def monotonic_ns(self, now_ns: int) -> int:
        """The monotonic clock at virtual time ``now_ns``."""
        elapsed = now_ns - self._since_ns
        if self._rate_ppm != PPM:
            elapsed = elapsed * self._rate_ppm // PPM
        return self._base_ns + elapsed

    def wall_ns(self, now_ns: int) -> int:
        """The wall clock at virtual time ``now_ns``."""
        return EPOCH_NS + now_ns + self.offset_ns

    def virtual_ns(self, monotonic_ns: int, now_ns: int) -> int:
        """The earliest virtual time, not before now, at which the clock shows ``monotonic_ns``."""
        elapsed = monotonic_ns - self._base_ns
        if self._rate_ppm != PPM:
            elapsed = -(-elapsed * PPM // self._rate_ppm)
        return max(now_ns, self._since_ns + elapsed)

    def advance(self, now_ns: int, by_ns: int) -> None:
        """Let the monotonic clock have run ``by_ns`` further: the node was slow to look."""
        if by_ns < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-by_ns} ns")
        self._base_ns = self.monotonic_ns(now_ns) + by_ns
        self._since_ns = now_ns

    def set(self, now_ns: int, *, offset_ns: int, rate: float) -> None:
        """From now on: this wall offset, this monotonic rate.

        Raises:
            ValueError: the rate is not above 0 and at most 100.
        """
        if not 0 < rate <= 100:
            raise ValueError(f"a clock rate must be above 0 and at most 100, and this is {rate!r}")
        self._base_ns = self.monotonic_ns(now_ns)
        self._since_ns = now_ns
        self._rate_ppm = max(1, round(rate * PPM))
        self.offset_ns = offset_ns
