"""Clock fence: a node whose clock cannot be trusted refuses transactions.

Problem. Clock-Bound Wait and the hybrid clock are right only while clocks differ by less than the
declared bound. A node whose clock is further off would break promises made by others, and does not
know it: to itself its clock is right.

Solution. Every message between nodes carries the sender's timestamp. A node compares it with its
own clock and keeps, for each peer, the least difference seen in the last seconds, in either
direction: a message that was slow makes its sender's clock look late, so the least late one tells
most. When a majority of the cluster, this node not counted on its own side, disagrees with it by
more than the bound and in the same direction, it is this node that is off. It fences itself: it
begins and commits no transaction until its clock agrees with a majority again. A single peer that
disagrees is that peer's trouble.

A clock that jumps makes everything void that was heard before. The node sees the jump itself, by
its monotonic clock, and trusts its clock again only when as many peers have been heard since as
make a majority of those it knew.

A difference is hidden while the peers merge the timestamps of a fast clock into their own. They do
that only up to the bound, so what matters is never hidden.

Invariants. A node fences itself only on the word of more than half of its peers.

What breaks without it. A47b: with clocks further apart than the bound, correct code breaks strict
serializability.

Source: CockroachDB's offset monitor, AWS ClockBound. Used by ``cluster.data.node_clock``; pure.
"""

from __future__ import annotations

from typing import Final

#: How long a peer's word counts, by this node's clock.
WINDOW_NS: Final = 3_000_000_000


class _Heard:
    """What one peer's stamps have shown: the newest word, and the best one of this window."""

    __slots__ = ("at_ns", "before_ns", "best_ns", "since_ns")

    def __init__(self, now_ns: int, ahead_ns: int) -> None:
        self.at_ns = self.since_ns = now_ns
        #: the most that a stamp was ahead of this node's clock, in this window and the one before
        self.best_ns = self.before_ns = ahead_ns

    def take(self, now_ns: int, ahead_ns: int) -> None:
        if now_ns - self.since_ns >= WINDOW_NS // 2:
            self.before_ns, self.best_ns, self.since_ns = self.best_ns, ahead_ns, now_ns
        if ahead_ns > self.best_ns:
            self.best_ns = ahead_ns
        self.at_ns = now_ns

    def ahead_ns(self) -> int:
        return max(self.best_ns, self.before_ns)


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

    def heard(self, now_ns: int, peer: str, ahead_ns: int) -> None:
        """A message arrived.

        Args:
            now_ns: the node's monotonic time.
            peer: the sender.
            ahead_ns: its timestamp minus this node's wall clock.
        """
        known = self._heard.get(peer)
        if known is None or now_ns - known.at_ns > WINDOW_NS:
            self._heard[peer] = _Heard(now_ns, ahead_ns)
        else:
            known.take(now_ns, ahead_ns)

    def skew_ns(self, now_ns: int) -> dict[str, int]:
        """How far each peer heard lately is ahead of this node's clock; negative if it is behind,
        and then by less than that, since messages take time."""
        return {
            peer: each.ahead_ns()
            for peer, each in sorted(self._heard.items())
            if now_ns - each.at_ns <= WINDOW_NS
        }

    def is_off(self, ahead_ns: int) -> int:
        """Decision: whether a peer's clock disagrees with this node's: 1 if it is ahead by more
        than the bound, -1 if behind, 0 if they agree."""
        if ahead_ns > self.bound_ns:
            return 1
        return -1 if ahead_ns < -self.bound_ns else 0

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
        if len(skew) < self._needed:
            return (
                f"this node's clock has jumped by {self._jump_ns} ns, and {len(skew)} of "
                f"{self._needed} peers have confirmed it since"
            )
        self._needed = 0
        for direction, word in ((1, "behind"), (-1, "ahead of")):
            off = [abs(each) for each in skew.values() if self.is_off(each) == direction]
            if off and self.is_fenced(len(off), len(skew)):
                return (
                    f"this node's clock is {word} those of {len(off)} of {len(skew)} peers by "
                    f"{min(off)} ns or more, and at most {self.bound_ns} ns are allowed"
                )
        return ""
