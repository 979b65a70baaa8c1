"""Hybrid Clock: timestamps that grow with causality and stay close to physical time.

Problem. Versions of values on many nodes need one order. Physical clocks differ from node to node
and jump; a Lamport clock orders cause before effect, and says nothing about when anything was.

Solution. A timestamp is a single integer: nanoseconds since the epoch, with the logical part in its
last digits. The next timestamp of a node is its physical time, or one more than the highest it has
issued or seen, whichever is greater. So a timestamp is a moment that a person can read, two of them
can be subtracted, and a node that issues fewer than 10^9 a second never runs ahead of its own
physical clock by itself. Every message between nodes carries the sender's newest timestamp, and the
receiver merges it: what follows from a message is later than what led to it.

A remote timestamp further ahead than the maximum offset is refused, or one broken clock would drag
all others along. For the same reason a node whose physical clock is further behind what it has
already issued issues nothing until the clock has caught up.

A restart must not go back, even when the physical clock did. So an upper bound is durable before
any timestamp up to it is issued: the clock says which bound it wants (:meth:`bound_wanted`), its
host writes it and reports (:meth:`bound_durable`). After a restart the clock begins above the last
durable bound.

Time comes in as an argument; there is no clock in here.

Invariants. The timestamps that a node issues only grow, restarts included. A timestamp is at least
the physical time it was issued at, above every timestamp merged since the node started, and at most
the maximum offset ahead of physical time.

What breaks without it. A46a: with the physical clock alone, the write of a node whose clock is slow
loses to an older one. A46b: a clock that accepts any remote timestamp follows the one broken clock.
A46c: a clock that is not merged on reads puts an effect before its cause. In a
data group, A46d: a node that merges nothing is refused by those that are ahead; A46e: one that
merges everything stops with the broken clock.

Source: Kulkarni et al., "Logical Physical Clocks" (2014); Joshi, "Hybrid Clock"; CockroachDB's
maximum offset and persisted upper bound. Used by the transactions' coordinator, by leaderless
stores, and by each host that stamps messages.
"""

from __future__ import annotations

from typing import Final

from cluster.config import in_seconds

#: Length of the reserve that one durable bound gives: a bound is written about twice in this time.
RESERVE_NS: Final = 1_000_000_000


class ClockNotReady(Exception):
    """No timestamp can be issued now; the text says why."""


class HybridClock:
    """One node's hybrid clock.

    Args:
        max_offset_ns: how far two physical clocks may be apart.
        durable_ns: the last durable upper bound; 0 on a new node.
        reserve_ns: how far above the present the next durable bound lies.

    Raises:
        ValueError: an argument is negative, or the reserve is 0.
    """

    __slots__ = ("_wanted", "durable", "last", "max_offset_ns", "reserve_ns")

    def __init__(
        self, *, max_offset_ns: int, durable_ns: int = 0, reserve_ns: int = RESERVE_NS
    ) -> None:
        for name, value, least in (
            ("max_offset_ns", max_offset_ns, 0),
            ("durable_ns", durable_ns, 0),
            ("reserve_ns", reserve_ns, 1),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        self.max_offset_ns = max_offset_ns
        self.reserve_ns = reserve_ns
        #: no timestamp above this is issued before a higher bound is durable
        self.durable = durable_ns
        #: the highest timestamp issued, merged, or perhaps issued before the last restart
        self.last = durable_ns
        self._wanted = durable_ns

    # -- issuing -----------------------------------------------------------------------------------

    def next_timestamp(self, wall_ns: int) -> int:
        """Decision: the timestamp that follows all others known, at a physical time."""
        return max(wall_ns, self.last + 1)

    def problem(self, wall_ns: int) -> str:
        """Why no timestamp can be issued at a physical time; "" if one can."""
        ahead_ns = self.next_timestamp(wall_ns) - wall_ns
        if ahead_ns > self.max_offset_ns:
            return (
                f"the physical clock is {in_seconds(ahead_ns)} behind timestamps that this node "
                f"knows, and at most {in_seconds(self.max_offset_ns)} is allowed"
            )
        if self.next_timestamp(wall_ns) > self.durable:
            return "the clock's upper bound is not durable yet"
        return ""

    def now(self, wall_ns: int) -> int:
        """Issue a timestamp.

        Args:
            wall_ns: the node's physical time, in nanoseconds since the epoch.

        Raises:
            ClockNotReady: none can be issued at this time.
        """
        wrong = self.problem(wall_ns)
        if wrong:
            raise ClockNotReady(wrong)
        issued = self.next_timestamp(wall_ns)
        assert issued <= self.durable, f"{issued} is above the durable bound {self.durable}"
        self.last = max(self.last, issued)
        return issued

    # -- merging -----------------------------------------------------------------------------------

    def accepts(self, wall_ns: int, remote: int) -> bool:
        """Decision: whether a remote timestamp may be merged at a physical time."""
        return remote - wall_ns <= self.max_offset_ns

    def observe(self, wall_ns: int, remote: int) -> bool:
        """Merge a timestamp that came with a message; whether it was accepted.

        Args:
            wall_ns: the node's physical time.
            remote: the sender's timestamp.
        """
        if not self.accepts(wall_ns, remote):
            return False
        if remote > self.last:
            self.last = remote
        return True

    def observe_read(self, wall_ns: int, remote: int) -> bool:
        """Decision: what a timestamp that came with a value read does: it is merged as any other.

        Args:
            wall_ns: the node's physical time.
            remote: the version's timestamp.

        Returns:
            Whether it was accepted.
        """
        return self.observe(wall_ns, remote)

    def ahead_ns(self, wall_ns: int) -> int:
        """How far the highest timestamp known is ahead of a physical time; 0 if it is not."""
        return max(0, self.last - wall_ns)

    # -- the durable bound -------------------------------------------------------------------------

    def bound_wanted(self, wall_ns: int) -> int:
        """The upper bound that must be made durable now; 0 if there is none.

        Each bound is named once. The first is wanted at once, each later one when half of the
        reserve is used.
        """
        used = self.last if self.last > wall_ns else wall_ns
        if wall_ns + self.max_offset_ns < used or used + self.reserve_ns // 2 < self._wanted:
            return 0
        self._wanted = max(self._wanted, used + self.reserve_ns)
        return self._wanted

    def bound_durable(self, bound: int) -> None:
        """A bound that was wanted is durable: timestamps up to it may be issued."""
        assert bound <= self._wanted, f"the bound {bound} was not asked for ({self._wanted} was)"
        self.durable = max(self.durable, bound)
