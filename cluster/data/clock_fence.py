"""Clock fence: a node whose clock cannot be trusted refuses transactions.

Problem. Clock-Bound Wait and the hybrid clock are right only while clocks differ by less than the
declared bound. A node whose clock is further off would break promises made by others, and does not
know it: to itself its clock is right.

Solution. Every message between nodes carries the sender's timestamp. When it arrives, the sender's
clock is at least that far, so the difference to this node's clock is a lower bound of how far the
sender is ahead. If the message also tells how long ago it was sent at most
(``cluster.data.round_trips``), the difference plus that time is an upper bound. So each message
gives an interval, and what is true of a peer lies in all of its intervals: a message that comes
late gives a wide one, which takes nothing away. Intervals that have nothing in common tell that the
peer's clock has moved, and the newest counts.

A peer disagrees when its whole interval lies beyond the bound. When a majority of the peers heard
lately disagree in the same direction, it is this node that is off. It fences itself: it begins and
commits no transaction until its clock agrees with a majority again. A single peer that disagrees is
that peer's trouble.

A clock that jumps makes everything void that was heard before. The node sees the jump itself, by
its monotonic clock, and trusts its clock again only when the intervals of as many peers are known
since, from both sides, as make a majority of those it knew.

A difference is hidden while the peers merge the timestamps of a fast clock into their own. They do
that only up to the bound, so what matters is never hidden.

Invariants. A node fences itself only on the word of more than half of its peers. An interval only
shrinks while it counts. No message, however late, makes a right clock look wrong.

What breaks without it. A47b, A47c: with clocks further apart than the bound, correct code breaks
strict serializability.

Source: Cristian (1989) and Marzullo (1984) for intervals; CockroachDB's offset monitor, AWS
ClockBound. Used by ``cluster.data.node_clock``; pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from cluster.config import in_seconds

#: How long a peer's word counts, by this node's clock.
WINDOW_NS: Final = 3_000_000_000


class Ahead(NamedTuple):
    """How far a peer's clock is ahead of this node's; negative if it is behind.

    Args:
        low_ns: at least.
        high_ns: at most; None if that is not known.
    """

    low_ns: int
    high_ns: int | None

    def meets(self, other: Ahead) -> bool:
        """Whether both may be true."""
        return _below(self.low_ns, other.high_ns) and _below(other.low_ns, self.high_ns)

    def both(self, other: Ahead) -> Ahead:
        """What is true if both are."""
        assert self.meets(other), f"{self} and {other} have nothing in common"
        highs = [each for each in (self.high_ns, other.high_ns) if each is not None]
        return Ahead(max(self.low_ns, other.low_ns), min(highs, default=None))


def _below(low_ns: int, high_ns: int | None) -> bool:
    return high_ns is None or low_ns <= high_ns


class _Heard:
    """What one peer's messages have shown, in this half of the window and the one before."""

    __slots__ = ("at_ns", "before", "now", "since_ns")

    def __init__(self, now_ns: int, ahead: Ahead) -> None:
        self._begin(now_ns, ahead)

    def _begin(self, now_ns: int, ahead: Ahead) -> None:
        self.at_ns = self.since_ns = now_ns
        self.now = self.before = ahead

    def take(self, now_ns: int, ahead: Ahead) -> None:
        self.at_ns = now_ns
        if not (ahead.meets(self.now) and ahead.meets(self.before)):
            self._begin(now_ns, ahead)
        elif now_ns - self.since_ns >= WINDOW_NS // 2:
            self.before, self.now, self.since_ns = self.now, ahead, now_ns
        else:
            self.now = self.now.both(ahead)

    def ahead(self) -> Ahead:
        return self.now.both(self.before) if self.now.meets(self.before) else self.now


class ClockFence:
    """One node's opinion of its own clock.

    Args:
        bound_ns: how far the clocks of two nodes may be apart.
    """

    __slots__ = ("_heard", "_jump_ns", "_needed", "_offset_ns", "bound_ns")

    def __init__(self, bound_ns: int) -> None:
        self.bound_ns = bound_ns
        self._heard: dict[str, _Heard] = {}
        #: the wall clock minus the monotonic one when they were looked at last; None before
        self._offset_ns: int | None = None
        #: how far the wall clock jumped last, and how many peers must have been heard since
        self._jump_ns, self._needed = 0, 0

    def look(self, now_ns: int, wall_ns: int) -> None:
        """Look at the node's clocks, often: a jump of the wall clock is seen here.

        Args:
            now_ns: the node's monotonic time.
            wall_ns: its wall clock.
        """
        offset_ns = wall_ns - now_ns
        jump_ns = 0 if self._offset_ns is None else offset_ns - self._offset_ns
        self._offset_ns = offset_ns
        if self.has_jumped(jump_ns):
            known = max(len(self._heard), 2 * self._needed - 1)
            self._jump_ns, self._needed = jump_ns, known // 2 + 1 if known > 0 else 0
            self._heard.clear()

    def has_jumped(self, by_ns: int) -> bool:
        """Decision: whether the wall clock moved so far against the monotonic one that what was
        heard before says nothing any more."""
        return abs(by_ns) > self.bound_ns

    def heard(self, now_ns: int, peer: str, ahead_ns: int, trip_ns: int | None) -> None:
        """A message arrived.

        Args:
            now_ns: the node's monotonic time.
            peer: the sender.
            ahead_ns: its timestamp minus this node's wall clock.
            trip_ns: how long ago it was sent at most; None if that is not known.
        """
        ahead = Ahead(ahead_ns, self.highest(ahead_ns, trip_ns))
        known = self._heard.get(peer)
        if known is None or now_ns - known.at_ns > WINDOW_NS:
            self._heard[peer] = _Heard(now_ns, ahead)
        else:
            known.take(now_ns, ahead)

    def highest(self, ahead_ns: int, trip_ns: int | None) -> int | None:
        """Decision: how far a peer is ahead at most, by one of its messages."""
        return None if trip_ns is None else ahead_ns + trip_ns

    def skew_ns(self, now_ns: int) -> dict[str, Ahead]:
        """How far each peer heard lately is ahead of this node's clock."""
        return {
            peer: each.ahead()
            for peer, each in sorted(self._heard.items())
            if now_ns - each.at_ns <= WINDOW_NS
        }

    def is_off(self, ahead: Ahead) -> int:
        """Decision: whether a peer's clock disagrees with this node's, whatever of its interval is
        true: 1 if it is ahead by more than the bound, -1 if behind, 0 if they may agree."""
        if ahead.low_ns > self.bound_ns:
            return 1
        return 0 if _below(-self.bound_ns, ahead.high_ns) else -1

    def is_fenced(self, disagree: int, heard: int) -> bool:
        """Decision: whether this node refuses transactions.

        Args:
            disagree: how many peers disagree with its clock in one direction.
            heard: how many peers were heard lately.
        """
        return disagree > heard // 2

    def problem(self, now_ns: int) -> str:
        """Why the node's clock cannot be trusted; "" if it can, as far as is known."""
        skew = self.skew_ns(now_ns)
        known = sum(each.high_ns is not None for each in skew.values())
        if known < self._needed:
            return (
                f"this node's clock has jumped by {in_seconds(self._jump_ns)}, and {known} of "
                f"{self._needed} peers have confirmed it since"
            )
        self._needed = 0
        for direction, word in ((1, "behind"), (-1, "ahead of")):
            off = [nearest(each) for each in skew.values() if self.is_off(each) == direction]
            if off and self.is_fenced(len(off), len(skew)):
                by, allowed = in_seconds(min(off)), in_seconds(self.bound_ns)
                return (
                    f"this node's clock is {word} those of {len(off)} of {len(skew)} peers by "
                    f"{by} or more, and at most {allowed} is allowed"
                )
        return ""


def nearest(ahead: Ahead) -> int:
    """How far the clocks are apart at least, for an interval that does not hold 0."""
    return ahead.low_ns if ahead.low_ns > 0 or ahead.high_ns is None else -ahead.high_ns
