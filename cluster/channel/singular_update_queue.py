"""Singular Update Queue: one order of updates, one at a time, and no more than can be carried.

Problem. Updates that interleave lose each other's effects; locks make them slow; an unbounded queue
turns overload into timeouts for every client.

Solution. All updates of a node pass one queue with one consumer, which takes a batch when the last
one was handed to the log. The queue is bounded: when too much is waiting, a request is refused at
once with ``retry``, which promises that it did not happen.

Invariants. Arrival order is log order. What was refused, or left the queue unserved, never reached
the log. Nothing runs between the read and the write of one command.

What breaks without it. A26: a command that reads before its turn writes what it read then; two
appends both read the old list, and one is lost. A26b: conditions of a transaction that are not
looked at. A26c: a transaction that stops halfway and leaves its first half.

Source: Joshi, "Singular Update Queue". Pure; used by ``cluster.core.replica``. The cores are
synchronous, so the single thread of execution is given; order and bound are this module's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from cluster.channel.request_batch import batch_length
from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.wire import Command


class SingularUpdateQueue:
    """Encoded updates that wait for their turn, each with the client that waits for it."""

    __slots__ = ("deadline_ns", "updates")

    def __init__(self) -> None:
        #: those that wait, in order; to be looked at
        self.updates: deque[tuple[Waiter, bytes]] = deque()
        self.deadline_ns = NEVER_NS

    def __len__(self) -> int:
        return len(self.updates)

    def has_room(self, pending: int, pending_max: int) -> bool:
        """Whether one more request may wait, given how many do anywhere in the node."""
        return pending < pending_max

    def as_logged(self, command: Command, read: Callable[[Command], Any]) -> Command:
        """Decision: what the log is given of a command: the command itself, whose read and write
        both happen when its turn comes.

        Args:
            command: as the client sent it.
            read: answers a read from the state as it is now, before the command's turn.
        """
        return command

    def put(self, waiter: Waiter, data: bytes) -> None:
        """Add an update at the end."""
        self.updates.append((waiter, data))
        if waiter.deadline_ns < self.deadline_ns:
            self.deadline_ns = waiter.deadline_ns

    def take(self, *, entries_max: int, bytes_max: int) -> tuple[list[Waiter], list[bytes]]:
        """Take the next batch: the waiters, and the updates, in the same order."""
        sizes = [len(data) for _waiter, data in islice(self.updates, entries_max)]
        count = batch_length(sizes, entries_max=entries_max, bytes_max=bytes_max)
        taken = [self.updates.popleft() for _ in range(count)]
        if not self.updates:
            self.deadline_ns = NEVER_NS
        return [waiter for waiter, _ in taken], [data for _, data in taken]

    def expire(self, now_ns: int) -> list[Waiter]:
        """Take the waiters whose time is up; their updates did not happen."""
        if now_ns < self.deadline_ns:
            return []
        return self._keep(lambda waiter: waiter.deadline_ns > now_ns)

    def drain(self) -> list[Waiter]:
        """Take all: this node no longer leads; they did not happen."""
        return self._keep(lambda _waiter: False)

    def disconnect(self, connection: int) -> None:
        """Forget the updates of a connection that is gone: no client would learn of them."""
        self._keep(lambda waiter: waiter.connection != connection)

    def _keep(self, kept: Callable[[Waiter], bool]) -> list[Waiter]:
        gone = [waiter for waiter, _ in self.updates if not kept(waiter)]
        if gone:
            self.updates = deque(item for item in self.updates if kept(item[0]))
        deadlines = (waiter.deadline_ns for waiter, _ in self.updates)
        self.deadline_ns = min(deadlines, default=NEVER_NS)
        return gone
