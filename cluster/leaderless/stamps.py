"""Stamps: the clock by which versions are ordered where the last writer wins, behind one interface.

Problem. Lamport, hybrid and wall clocks promise different things, and a store should not have to
know which one it runs with.

Solution. A stamp is an integer. A source of stamps issues them, is told of those that others
issued, and may want a bound made durable first. Stamps of one number are told apart by the node.
``NoStamps`` serves stores whose versions are ordered by version vectors and need no clock.

Invariants. Those of the clock behind it: see ``cluster.clocks.lamport_clock`` and
``cluster.clocks.hybrid_clock``. The wall clock promises nothing, and is here to show that.

What breaks without it. A46a, A46b, A46c, A45a, A45b: the decisions of these clocks.

Source: Joshi, "Lamport Clock", "Hybrid Clock". Used by ``cluster.leaderless``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cluster.clocks.hybrid_clock import HybridClock
from cluster.clocks.lamport_clock import LamportClock


class Stamps(Protocol):
    """A node's source of stamps."""

    @property
    def reading(self) -> int:
        """The highest stamp known, for messages to carry; 0 if there are none."""

    def problem(self) -> str:
        """Why no stamp can be issued now; "" if one can."""

    def time_of(self, stamp: int) -> int | None:
        """The nanoseconds since the epoch that a stamp says; None if stamps are no times."""

    def issue(self) -> int:
        """A stamp above all that are known; only without a problem."""

    def observe(self, remote: int) -> bool:
        """A stamp came with a peer's message; False if the message must be dropped."""

    def observe_read(self, remote: int) -> bool:
        """A stamp came with a value that was read, or with a client who read it."""

    def bound_wanted(self) -> int:
        """A bound to be made durable now; 0 if there is none."""

    def bound_durable(self, bound: int) -> None:
        """That bound is durable."""


class NoStamps:
    """No clock: version vectors need none."""

    reading = 0

    def problem(self) -> str:
        """Nothing is ever wrong with it."""
        return ""

    def time_of(self, stamp: int) -> int | None:
        """No time."""
        return None

    def issue(self) -> int:
        """No version is ordered by it."""
        raise AssertionError("versions of this store have no stamps")

    def observe(self, remote: int) -> bool:
        """Nothing is learnt."""
        return True

    observe_read = observe

    def bound_wanted(self) -> int:
        """None."""
        return 0

    def bound_durable(self, bound: int) -> None:
        """None was wanted."""


class WallStamps(NoStamps):
    """The node's wall clock, as it is.

    Args:
        wall_ns: nanoseconds since the epoch.
    """

    def __init__(self, wall_ns: Callable[[], int]) -> None:
        self._wall_ns = wall_ns

    def issue(self) -> int:
        """What the clock shows."""
        return self._wall_ns()

    def time_of(self, stamp: int) -> int | None:
        """The stamp itself."""
        return stamp


class LamportStamps:
    """A Lamport clock.

    Args:
        clock: the clock.
    """

    def __init__(self, clock: LamportClock) -> None:
        self.clock = clock

    @property
    def reading(self) -> int:
        """The highest number known."""
        return self.clock.last

    def time_of(self, stamp: int) -> int | None:
        """Numbers are no times."""
        return None

    def problem(self) -> str:
        """Why no stamp can be issued now."""
        return "" if self.clock.ready else "the clock's bound is not durable yet"

    def issue(self) -> int:
        """The next number."""
        return self.clock.issue()

    def observe(self, remote: int) -> bool:
        """Every number is believed."""
        self.clock.observe(remote)
        return True

    observe_read = observe

    def bound_wanted(self) -> int:
        """A bound to be made durable now."""
        return self.clock.bound_wanted()

    def bound_durable(self, bound: int) -> None:
        """That bound is durable."""
        self.clock.bound_durable(bound)


class HybridStamps:
    """A hybrid clock.

    Args:
        clock: the clock.
        wall_ns: the node's physical time.
    """

    def __init__(self, clock: HybridClock, wall_ns: Callable[[], int]) -> None:
        self.clock = clock
        self._wall_ns = wall_ns

    @property
    def reading(self) -> int:
        """The highest timestamp known."""
        return self.clock.last

    def time_of(self, stamp: int) -> int | None:
        """A hybrid timestamp is in nanoseconds, and at or above physical time."""
        return stamp

    def problem(self) -> str:
        """Why no stamp can be issued now."""
        return self.clock.problem(self._wall_ns())

    def issue(self) -> int:
        """The next timestamp."""
        return self.clock.now(self._wall_ns())

    def observe(self, remote: int) -> bool:
        """A timestamp too far ahead is not believed, and what it came with is dropped."""
        return self.clock.observe(self._wall_ns(), remote)

    def observe_read(self, remote: int) -> bool:
        """A timestamp that came with a value."""
        return self.clock.observe_read(self._wall_ns(), remote)

    def ahead_ns(self) -> int:
        """How far the highest timestamp known is ahead of physical time."""
        return self.clock.ahead_ns(self._wall_ns())

    def bound_wanted(self) -> int:
        """A bound to be made durable now."""
        return self.clock.bound_wanted(self._wall_ns())

    def bound_durable(self, bound: int) -> None:
        """That bound is durable."""
        self.clock.bound_durable(bound)
