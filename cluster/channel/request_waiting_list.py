"""Request Waiting List: the clients that wait for an entry, until its outcome is known.

Problem. A command is answered only when its entry is committed and applied, long after the request
was taken, in an event that knows nothing of clients. The entry may never be committed here.

Solution. Keep the waiting client under the name of its entry: the index, and the generation that it
was appended in. When an entry is applied at that index, a waiter of the same generation gets the
result. A waiter of another generation learns that its own entry was replaced; the outcome is
*unknown*, since the session's next copy may be under way. When leadership of a generation is lost,
the outcome of every proposal of that generation is unknown, and all that wait for one are answered
so at once. A waiter whose time is up is answered the same. Never ``fail``: the entry may yet be
committed by the next leader.

Invariants. Each waiter is answered exactly once, unless its connection is gone. ok is said only for
the waiter's own entry, after it was applied. At most one waiter per index. All that wait at one
time wait for entries of one generation: a node leads one, and its loss leaves no waiter behind.

What breaks without it. A27a: an answer at append. A27b: entries named by their index alone; waiters
outlive the leadership that took them, and one of them is told ok for another client's command.
A27c: a client that is never answered, and a list that grows. A27d: a deposed leader that says
``fail``.

Source: Joshi, "Request Waiting List". Pure bookkeeping, used by ``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    """Waiters by the index of their entry, all of one generation."""

    __slots__ = ("_generation", "_waiting", "deadline_ns")

    def __init__(self) -> None:
        self._waiting: dict[int, Waiter] = {}
        #: the generation in the names of the entries that are waited for
        self._generation = 0
        self.deadline_ns = NEVER_NS

    def __len__(self) -> int:
        return len(self._waiting)

    def named_generation(self, generation: int) -> int:
        """Decision: what is in an entry's name beside its index: its generation, as it is."""
        return generation

    def answers_at_append(self) -> bool:
        """Decision: whether a client is answered as soon as its entry is in the leader's log."""
        return False

    def outcome_when_lost(self) -> str:
        """Decision: what is said of an entry whose leader leads no more: it is unknown."""
        return "unknown"

    def waits_until_ns(self, waiter: Waiter) -> int:
        """Decision: how long a client waits for its entry: until the deadline it gave."""
        return waiter.deadline_ns

    def add(self, first_index: int, generation: int, waiters: Sequence[Waiter]) -> bool:
        """Wait for entries that were appended in a row, one for each waiter; False if the clients
        are to be answered now."""
        if self.answers_at_append():
            return False
        named = self.named_generation(generation)
        assert named == self._generation or not self._waiting, (
            f"clients wait for generation {self._generation}, and now for {named}"
        )
        self._generation = named
        for index, waiter in enumerate(waiters, first_index):
            assert index not in self._waiting, f"two requests wait for the entry at {index}"
            self._waiting[index] = waiter
            until_ns = self.waits_until_ns(waiter)
            if until_ns < self.deadline_ns:
                self.deadline_ns = until_ns
        return True

    def applied(self, index: int, generation: int) -> tuple[Waiter, bool] | None:
        """An entry was applied: the waiter at its index, and whether this is its own entry."""
        waiter = self._waiting.pop(index, None)
        if waiter is None:
            return None
        return waiter, self.named_generation(generation) == self._generation

    def expire(self, now_ns: int) -> list[Waiter]:
        """Take the waiters whose time is up; they must be answered unknown."""
        if now_ns < self.deadline_ns:
            return []
        gone = self._take(lambda waiter: self.waits_until_ns(waiter) <= now_ns)
        deadlines = (self.waits_until_ns(waiter) for waiter in self._waiting.values())
        self.deadline_ns = min(deadlines, default=NEVER_NS)
        return gone

    def abandon(self, generation: int) -> list[Waiter]:
        """Leadership of a generation is lost: take all that wait for an entry of it; they must be
        answered unknown."""
        if self._generation != generation:
            return []
        self.deadline_ns = NEVER_NS
        return self._take(lambda _waiter: True)

    def disconnect(self, connection: int) -> None:
        """Forget the waiters of a connection that is gone."""
        self._take(lambda waiter: waiter.connection == connection)

    def _take(self, chosen: Callable[[Waiter], bool]) -> list[Waiter]:
        indexes = [index for index, waiter in self._waiting.items() if chosen(waiter)]
        return [self._waiting.pop(index) for index in indexes]
