"""The requests of clients for one register, while a node's proposer works for them.

Problem. Attempts take two round trips, and more requests for the register come meanwhile. If each
had its own attempt, the attempts of one node would refuse each other.

Solution. The node has one attempt at a time for a register. Requests wait until a majority has
promised, and then all that wait go into one proposal, applied in order of arrival (Request Batch).
If the attempt fails, they go back to the front of the queue, for the next one. A request whose time
is up leaves it: nothing happened, unless its change was in a proposal that some acceptor may have,
and then its outcome is unknown.

A read that joins an attempt late is not answered by its promises alone, as the earlier ones are:
the oldest promise may be older than the read, and the acceptor may have accepted more since. Phase
2 tells, since that acceptor will refuse.

Invariants. A request is answered once, or its connection is gone. ``ok`` and ``fail`` are said only
of a change whose proposal was chosen, or for a read of a chosen value. ``retry`` is never said of a
change that was proposed.

What breaks without it. A24q: a read is answered by promises that are older than itself, and misses
what was written between. A request that is told ``retry`` after it was proposed may happen all the
same: a failed write that is read later.

Source: Joshi, "Request Waiting List", "Singular Update Queue". Used by
``cluster.core.paxos_register``; pure bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.core.answers import Answer
from cluster.core.register_state import READS
from cluster.wire import Request


class Asked(msgspec.Struct):
    """A request that has no answer yet.

    Args:
        waiter: whom to answer, and by when.
        request: what was asked.
        proposed: whether a change of it may be with some acceptor.
        early: whether it waited when the attempt under way began.
        answer: what it gets if the proposal it is in is chosen, and the round of that.
    """

    waiter: Waiter
    request: Request
    proposed: bool = False
    early: bool = False
    answer: tuple[Answer, int] | None = None

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.request.command.op in READS


class RegisterRequests:
    """The requests for one register: those that wait, and those in the proposal under way."""

    __slots__ = ("under_way", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Asked] = []
        self.under_way: list[Asked] = []

    def __len__(self) -> int:
        return len(self.waiting) + len(self.under_way)

    @property
    def deadline_ns(self) -> int:
        """When the first of them must be answered."""
        every = (*self.waiting, *self.under_way)
        return min((asked.waiter.deadline_ns for asked in every), default=NEVER_NS)

    def promises_cover(self, asked: Asked) -> bool:
        """Decision: whether the promises of the attempt under way were all made after the request.

        If not, a later value may have been chosen between the oldest of them and the request.
        """
        return asked.early

    @property
    def are_answered(self) -> bool:
        """Whether all that were taken are reads which a chosen value answers as it is."""
        return all(asked.reads and self.promises_cover(asked) for asked in self.under_way)

    def begin(self) -> None:
        """An attempt begins: what waits now was asked before every promise it will get."""
        for asked in self.waiting:
            asked.early = True

    def take(self, round: int, *, limit: int) -> list[Asked]:
        """Those that go into a proposal of this round, in order of arrival.

        A session's changes are made by rounds above the one it knew when it began.
        """
        assert not self.under_way, "two proposals of one register are under way"
        taken: list[Asked] = []
        left: list[Asked] = []
        for asked in self.waiting:
            fits = len(taken) < limit and asked.request.opened_after < round
            (taken if fits else left).append(asked)
        self.under_way, self.waiting = taken, left
        return taken

    def propose(self) -> None:
        """The proposal leaves: from now on its changes may happen."""
        for asked in self.under_way:
            asked.proposed = asked.proposed or not asked.reads

    def settle(self) -> list[Asked]:
        """The proposal is chosen: those whose answers are known now."""
        settled, self.under_way = self.under_way, []
        assert all(asked.answer is not None for asked in settled)
        return settled

    def put_back(self) -> None:
        """The attempt failed: its requests are the first of the next."""
        for asked in self.under_way:
            asked.answer = None
        assert not any(asked.answer for asked in self.waiting)
        self.waiting, self.under_way = self.under_way + self.waiting, []

    def remove(self, gone: Callable[[Asked], bool]) -> list[Asked]:
        """Take out requests that no client waits for any more."""
        removed = [asked for asked in (*self.under_way, *self.waiting) if gone(asked)]
        if removed:
            self.waiting = [asked for asked in self.waiting if not gone(asked)]
            self.under_way = [asked for asked in self.under_way if not gone(asked)]
        return removed
