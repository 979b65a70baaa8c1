"""Node clock: the timestamps of one data node's transactions.

It puts together what the node's messages are stamped with (``cluster.data.stamps``: the hybrid
clock, and the fence against a clock that is off) and the node's physical clock, and says in a
sentence why no timestamp can be had.

Invariants. A node whose clock cannot be trusted issues no timestamp to a transaction.

Used by the transactions' coordinator and what it is composed of.
"""

from __future__ import annotations

from cluster.clocks.hybrid_clock import ClockNotReady
from cluster.data.clock_fence import Ahead
from cluster.data.stamps import Stamps
from cluster.ports import Clock


class NodeClock:
    """One node's timestamps.

    Args:
        clock: the node's physical clocks.
        stamps: its hybrid clock, as messages between nodes carry it.
    """

    __slots__ = ("_clock", "_stamps")

    def __init__(self, clock: Clock, stamps: Stamps) -> None:
        self._clock = clock
        self._stamps = stamps

    def wall_ns(self) -> int:
        """The physical time."""
        return self._clock.wall_ns()

    def stamp(self) -> int:
        """The present as messages carry it: at least every timestamp known here."""
        return self._stamps.stamp()

    def problem(self) -> str:
        """Why no transaction can begin or commit here now; "" if one can."""
        return self.fenced() or self._stamps.hybrid.problem(self._clock.wall_ns())

    def fenced(self) -> str:
        """Why the clock cannot be trusted; "" if it can. Other problems end by themselves."""
        now_ns = self._clock.monotonic_ns()
        self._stamps.fence.look(now_ns, self._clock.wall_ns())
        return self._stamps.fence.problem(now_ns)

    def now(self) -> int:
        """Issue a timestamp.

        Raises:
            ClockNotReady: none can be issued now, or the node's clock cannot be trusted.
        """
        wrong = self.problem()
        if wrong:
            raise ClockNotReady(wrong)
        return self._stamps.now()

    def observe(self, timestamp: int) -> bool:
        """Merge a timestamp that a group has named; whether it was accepted."""
        return self._stamps.observe(timestamp)

    def observe_read(self, timestamp: int) -> bool:
        """Merge the timestamp of a version that was read; whether it was accepted."""
        return self._stamps.observe_read(timestamp)

    def ahead_ns(self) -> int:
        """How far the highest timestamp known is ahead of the physical time."""
        return self._stamps.hybrid.ahead_ns(self._clock.wall_ns())

    def skew_ns(self) -> dict[str, Ahead]:
        """How far each peer heard lately is ahead of this node's clock, at least and at most."""
        return self._stamps.fence.skew_ns(self._clock.monotonic_ns())
