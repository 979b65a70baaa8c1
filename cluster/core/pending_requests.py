"""Pending requests: all clients that wait at a node, for whatever they wait.

Problem. Requests wait in several places: for their turn, for an entry, for an index, for a change
of the state or of the members. What concerns all of them (one bound, one next deadline, the end of
a connection) would have to be remembered in each.

Solution. Every such place is a :class:`WaitingPart`, and this object holds them all.

Counting all of them for each request would cost more than admitting it. So what is kept is a bound:
how many waited when they were last counted, and how many were admitted since. Only when the bound
leaves no room are they counted again.

Invariants. A request is admitted only while fewer than ``pending_max`` wait. A request whose time
is up is answered at the first tick after that.

What breaks without it. A request waits for ever. Without the bound, overload becomes a timeout for
every client.

Source: Joshi, "Request Waiting List", "Singular Update Queue". Used by ``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.core.client_answers import ClientAnswers


class WaitingPart(Protocol):
    """A part of a replica in which clients wait."""

    @property
    def deadline_ns(self) -> int:
        """When the first of them must be answered, or something done for it, at the latest."""

    def __len__(self) -> int:
        """How many wait."""

    def expire(self, now_ns: int) -> None:
        """Answer those whose time is up."""

    def disconnect(self, connection: int) -> None:
        """Forget those of a connection that is gone."""


class PendingRequests:
    """The parts in which clients wait.

    Args:
        answers: where a refusal goes.
        has_room: whether one more may wait, given how many do and how many may.
        pending_max: how many may.
    """

    __slots__ = ("_answers", "_at_most", "_has_room", "_parts", "_pending_max")

    def __init__(
        self,
        answers: ClientAnswers,
        has_room: Callable[[int, int], bool],
        *,
        pending_max: int,
    ) -> None:
        self._answers = answers
        self._has_room, self._pending_max = has_room, pending_max
        #: at most so many wait
        self._at_most = 0
        self._parts: tuple[WaitingPart, ...] = ()

    def hold(self, *parts: WaitingPart) -> None:
        """These are the parts, in the order in which their requests expire."""
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def admit(self, waiter: Waiter) -> bool:
        """Whether one more request may wait; if not, the client is answered ``retry``."""
        if not self._has_room(self._at_most, self._pending_max):
            waiting = len(self)
            assert waiting <= self._at_most, f"{waiting} wait, and {self._at_most} were admitted"
            self._at_most = waiting
            if not self._has_room(waiting, self._pending_max):
                full = f"{waiting} requests are waiting already"
                self._answers.give(waiter, ("retry", None, full))
                return False
        self._at_most += 1
        return True

    @property
    def deadline_ns(self) -> int:
        """When the first request must be answered, or something done for it, at the latest."""
        earliest = NEVER_NS
        for part in self._parts:
            due_ns = part.deadline_ns
            if due_ns < earliest:
                earliest = due_ns
        return earliest

    def expire(self, now_ns: int) -> None:
        """Answer the requests whose time is up."""
        for part in self._parts:
            part.expire(now_ns)

    def disconnect(self, connection: int) -> None:
        """A connection is gone: its requests are forgotten, and nothing is answered."""
        for part in self._parts:
            part.disconnect(connection)
