"""Request Pipeline: several requests under way at once, in order, within a window.

Problem. Waiting for each answer before the next request wastes a round trip per request. Sending
without a limit floods a slow receiver and, after a loss, leaves holes.

Solution. Send on while fewer than ``window`` requests are unanswered. Each request names what must
precede it, so a receiver refuses what does not follow. A refusal empties the pipeline, and the
sender asks one request at a time until both agree where they stand. The requests that were under
way will be refused too. So each refusal halves the window, and each answer that is news widens it
by one; otherwise a network that reorders would answer every refusal with a new burst.

Invariants. Never more than ``window`` unanswered. What a follower has acknowledged (``match``)
never goes down in one leadership, and the next request begins above it. An old refusal changes
nothing.

What breaks without it. A55: where the receiver does not check the order, a request that was lost
and is sent again comes after its successors. A55b: a sender whose window is not reset by a refusal
never brings the receiver in line. Without the window, a paused follower costs the leader its
memory.

Source: Joshi, "Request Pipeline"; the replication progress of etcd's raft (probe and replicate).
Pure bookkeeping of one receiver, used by consensus leaders.
"""

from __future__ import annotations

from collections import deque


class RequestPipeline:
    """What a leader knows of one follower's log, and what is under way to it.

    Args:
        next_index: first entry to try.
        window: most requests under way.
        now_ns: the time.
    """

    __slots__ = (
        "_in_flight",
        "_limit",
        "_probe_sent",
        "match",
        "next",
        "probing",
        "touched_ns",
        "window",
    )

    def __init__(self, next_index: int, *, window: int, now_ns: int) -> None:
        self.match = 0
        self.next = next_index
        self.window = window
        self._limit = window
        self.probing = True
        self.touched_ns = now_ns
        self._probe_sent = False
        self._in_flight: deque[int] = deque()

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return len(self._in_flight) + self._probe_sent

    def can_send(self) -> bool:
        """Whether another request may be sent now."""
        return not self._probe_sent if self.probing else len(self._in_flight) < self._limit

    def sent(self, last_index: int, now_ns: int) -> None:
        """Entries up to ``last_index`` were sent."""
        assert last_index >= self.next > self.match, (
            f"entries {self.next} to {last_index} were sent, and {self.match} is acknowledged"
        )
        if self.probing:
            self._probe_sent = True
            self.touched_ns = now_ns
            return
        if not self._in_flight:
            self.touched_ns = now_ns
        self._in_flight.append(last_index)
        self.next = last_index + 1

    def acknowledged(self, match_index: int, now_ns: int) -> bool:
        """The follower has everything up to an index; whether that is news."""
        while self._in_flight and self._in_flight[0] <= match_index:
            self._in_flight.popleft()
        self.next = max(self.next, match_index + 1)
        if self.probing:
            self.probing = self._probe_sent = False
        if match_index <= self.match:
            return False
        self.match = match_index
        self.touched_ns = now_ns
        self._limit = min(self.window, self._limit + 1)
        return True

    def is_old(self, prev_index: int) -> bool:
        """Decision: whether a refusal of what should follow ``prev_index`` is old: it is at or
        below what is acknowledged, or of anything but the probe under way."""
        return prev_index <= self.match or (self.probing and prev_index != self.next - 1)

    def refused(self, prev_index: int, next_index: int) -> bool:
        """The follower refused what should follow ``prev_index``; whether to try ``next_index``."""
        if self.is_old(prev_index):
            return False
        if not self.probing:
            self._limit = max(1, self._limit // 2)
        self.reset(max(self.match + 1, min(next_index, prev_index)))
        return True

    def reset(self, next_index: int) -> None:
        """Empty the pipeline and ask again from an index, one request at a time."""
        self._in_flight.clear()
        self.probing = True
        self._probe_sent = False
        self.next = next_index

    def lost(self, next_index: int) -> None:
        """The follower no longer has what it acknowledged: begin anew from an index."""
        self.match = 0
        self.reset(next_index)

    def stalled(self, now_ns: int, patience_ns: int) -> bool:
        """Whether requests have been under way for so long, without news, that one may be lost."""
        return self.in_flight > 0 and now_ns - self.touched_ns >= patience_ns
