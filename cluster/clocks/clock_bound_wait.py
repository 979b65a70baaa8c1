"""Clock-Bound Wait: a commit is told of only when its timestamp is past on every clock.

Problem. Clocks differ. A transaction commits at a timestamp of a fast clock and is answered; the
next one begins at a node whose clock is slow, reads at a timestamp below it, and does not see what
was answered before it began.

Solution. The clocks of any two nodes differ by at most a declared bound. A node that has committed
at a timestamp waits until its own clock has passed the timestamp by that bound. Then the slowest
clock has passed it too, and every transaction that begins from now on reads above it. The wait is
spent before the client is answered, and before the value is shown to any other: a reader that sees
a version whose timestamp is not past everywhere waits as its writer does.

The earliest time is what the slowest clock may show now, the latest what the fastest may show.

Invariants. If no two clocks differ by more than the bound: when a transaction is answered, every
timestamp issued from then on, anywhere, is above its commit timestamp and above those it has read.

What breaks without it. A47a: without the wait, a transaction at a slow node misses one that was
answered before it began; serializable still, not strictly. A47b: the same with the wait, when the
clocks differ by more than declared: a node that notices refuses transactions
(``cluster.data.clock_fence``).

Source: Corbett et al., "Spanner" (2012), commit wait; Joshi, "Clock-Bound Wait".
Pure: one bound and arithmetic. Used by the transactions' coordinator.
"""

from __future__ import annotations


class ClockBoundWait:
    """What is past, given that clocks differ by at most a bound.

    Args:
        bound_ns: how far the clocks of two nodes may be apart.

    Raises:
        ValueError: the bound is negative.
    """

    __slots__ = ("bound_ns",)

    def __init__(self, bound_ns: int) -> None:
        if bound_ns < 0:
            raise ValueError(f"bound_ns is {bound_ns}; it must not be negative")
        self.bound_ns = bound_ns

    def earliest(self, wall_ns: int) -> int:
        """The least that any node's clock may show when this node's shows ``wall_ns``."""
        return wall_ns - self.bound_ns

    def latest(self, wall_ns: int) -> int:
        """The most that any node's clock may show when this node's shows ``wall_ns``."""
        return wall_ns + self.bound_ns

    def waits_for_clock_bound(self, wall_ns: int, timestamp: int) -> bool:
        """Decision: whether a timestamp may still be in the future of some node's clock."""
        return self.earliest(wall_ns) <= timestamp

    def left_ns(self, wall_ns: int, timestamp: int) -> int:
        """How long to wait, by this node's clock, until a timestamp is past; 0 if it is."""
        if not self.waits_for_clock_bound(wall_ns, timestamp):
            return 0
        return max(1, timestamp + self.bound_ns + 1 - wall_ns)
