"""Request Waiting List: the clients that wait for an entry, until its outcome is known.

Problem. A command is answered only when its entry is committed and applied, long after the request
was taken, in an event that knows nothing of clients. The entry may never be committed here.

Solution. Keep the waiting client under (index, generation) of its entry. When an entry is applied
at that index, a waiter of the same generation gets the result. A waiter of another generation
learns that its own entry was replaced; the outcome is *unknown*, since the session's next copy may
be under way. When leadership is lost, the outcome of every pending proposal is unknown, and all
waiters are answered so at once. A waiter whose time is up is answered the same. Never ``fail``: the
entry may yet be committed by the next leader.

Invariants. Each waiter is answered exactly once, unless its connection is gone. ok is said only for
the waiter's own entry, after it was applied. At most one waiter per index.

What breaks without it. A27a: an answer at append. A27c: a client that is never answered, and a list
that grows. A27d: a deposed leader that says ``fail``. A27b (not built): a list keyed by index alone
says ok for another client's command; so it would be if deposed leaders kept their waiters, too.

Source: Joshi, "Request Waiting List". Pure bookkeeping, used by ``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

#: A time that never comes.
NEVER_NS = 1 << 62


class Waiter(msgspec.Struct, frozen=True):
    """A client's request that waits.

    Args:
        connection: where the answer goes.
        request: the request's id on that connection.
        deadline_ns: when the node must answer at the latest.
    """

    connection: int
    request: int
    deadline_ns: int


class RequestWaitingList:
    """Waiters by the (index, generation) of their entry."""

    __slots__ = ("_waiting", "deadline_ns")

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, Waiter]] = {}
        self.deadline_ns = NEVER_NS

    def __len__(self) -> int:
        return len(self._waiting)

    def is_answer_for(self, waiting_generation: int, applied_generation: int) -> bool:
        """Whether the entry applied is the one a waiter at its index asked for."""
        return waiting_generation == applied_generation

    def answers_at_append(self) -> bool:
        """Decision: whether a client is answered as soon as its entry is in the leader's log."""
        return False

    def outcome_when_lost(self) -> str:
        """Decision: what is said of an entry whose leader leads no more: it is unknown."""
        return "unknown"

    def waits_until_ns(self, waiter: Waiter) -> int:
        """Decision: how long a client waits for its entry: until the deadline it gave."""
        return waiter.deadline_ns

    def add(self, index: int, generation: int, waiter: Waiter) -> bool:
        """Wait for the entry (index, generation), an index once at a time; False if the client is
        to be answered now."""
        if self.answers_at_append():
            return False
        assert index not in self._waiting, f"two requests wait for the entry at {index}"
        self._waiting[index] = (generation, waiter)
        until_ns = self.waits_until_ns(waiter)
        if until_ns < self.deadline_ns:
            self.deadline_ns = until_ns
        return True

    def applied(self, index: int, generation: int) -> tuple[Waiter, bool] | None:
        """An entry was applied: the waiter at its index, and whether this is its own entry."""
        held = self._waiting.pop(index, None)
        if held is None:
            return None
        return held[1], self.is_answer_for(held[0], generation)

    def expire(self, now_ns: int) -> list[Waiter]:
        """Take the waiters whose time is up; they must be answered unknown."""
        if now_ns < self.deadline_ns:
            return []
        gone = self._take(lambda waiter: self.waits_until_ns(waiter) <= now_ns)
        deadlines = (self.waits_until_ns(waiter) for _generation, waiter in self._waiting.values())
        self.deadline_ns = min(deadlines, default=NEVER_NS)
        return gone

    def abandon(self) -> list[Waiter]:
        """Take all: leadership is lost; they must be answered unknown."""
        self.deadline_ns = NEVER_NS
        return self._take(lambda _waiter: True)

    def disconnect(self, connection: int) -> None:
        """Forget the waiters of a connection that is gone."""
        self._take(lambda waiter: waiter.connection == connection)

    def _take(self, chosen: Callable[[Waiter], bool]) -> list[Waiter]:
        indexes = [index for index, (_, waiter) in self._waiting.items() if chosen(waiter)]
        return [self._waiting.pop(index)[1] for index in indexes]
