"""Pending reads: the clients that wait for a read, until its index is known and applied.

Problem. A linearizable read has no entry in the log. It is answered when the consensus has named an
index at which it is linearizable, and the state has reached that index; both happen in events that
know nothing of clients.

Solution. Each read gets a token; reads that arrive together may share one. The consensus names an
index for the token; the reads run once that index is applied. Index 0 means that they cannot be
served here any more. Tokens that leave the node (a follower's reads) carry a salt that is drawn
anew in each life of the node.

Invariants. A read runs at a state at least as new as its index. Each read is answered once, unless
its connection is gone.

What breaks without it. A33: a read before its index is applied. Without the salt, the answer to a
former life of this node names the index of a read of this one.

Source: Raft thesis 6.4. Bookkeeping, used by ``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.measures import Histogram
from cluster.ports import Rng
from cluster.wire import Command


class PendingRead(msgspec.Struct, frozen=True):
    """A read that waits for its index, and for that index to be applied.

    Args:
        waiter: the client.
        command: the read.
        asked_ns: when the consensus was asked for an index; -1 if it was not.
    """

    waiter: Waiter
    command: Command
    asked_ns: int = -1


class PendingReads:
    """The reads a node has taken, by token."""

    __slots__ = ("_next_token", "_salt", "deadline_ns", "named", "reads", "waited_seconds")

    def __init__(self) -> None:
        #: the reads that wait, by the token of their index; may be looked at, as may ``named``
        self.reads: dict[int, list[PendingRead]] = {}
        #: (index, token) where the index is known, and was not applied when last looked at
        self.named: list[tuple[int, int]] = []
        self._next_token = 1
        self._salt = 0
        self.deadline_ns = NEVER_NS
        #: from asking for an index until the read could run
        self.waited_seconds = Histogram()

    def __len__(self) -> int:
        return sum(map(len, self.reads.values()))

    def read_may_run(self, index: int, applied: int) -> bool:
        """Decision: whether the state is as new as a read's index demands."""
        return applied >= index

    def next_token(self) -> int:
        """A token for a read that may be added."""
        token, self._next_token = self._next_token, self._next_token + 1
        return token

    def forwarded(self, token: int, rng: Rng) -> int:
        """The token as it is sent to a leader."""
        if not self._salt:
            self._salt = rng.between(1, 1 << 40) << 20
        return self._salt + token

    def add(self, token: int, waiter: Waiter, command: Command, asked_ns: int) -> None:
        """Wait for a token's index, asked for at this time."""
        read = PendingRead(waiter, command, asked_ns)
        sharing = self.reads.get(token)
        if sharing is None:
            self.reads[token] = [read]
        else:
            sharing.append(read)
        if waiter.deadline_ns < self.deadline_ns:
            self.deadline_ns = waiter.deadline_ns

    def wait_for(self, index: int, waiter: Waiter, command: Command) -> None:
        """Wait until an index is applied that is known already."""
        token = self.next_token()
        self.reads[token] = [PendingRead(waiter, command)]
        self.named.append((index, token))
        self.deadline_ns = min(self.deadline_ns, waiter.deadline_ns)

    def name(self, named: list[tuple[int, int]]) -> list[Waiter]:
        """The consensus names indexes, as (token, index); the waiters of lost reads."""
        lost: list[Waiter] = []
        reads, salt = self.reads, self._salt
        for token, index in named:
            if salt and token >= salt:
                token -= salt
            if token not in reads:
                continue
            if index == 0:
                lost += [read.waiter for read in reads.pop(token)]
            else:
                self.named.append((index, token))
        return lost

    def take_runnable(self, now_ns: int, applied: int) -> list[PendingRead]:
        """Take the reads whose index is named and applied by now."""
        if not self.named:
            return []
        later: list[tuple[int, int]] = []
        runnable: list[PendingRead] = []
        reads, at, may_run = self.reads, -1, False
        for index, token in self.named:
            if index != at:
                at, may_run = index, self.read_may_run(index, applied)
            if not may_run:
                if token in reads:  # else nobody waits for it any more
                    later.append((index, token))
            else:
                runnable += reads.pop(token, ())
        self.named = later
        self._observe(now_ns, runnable)
        return runnable

    def _observe(self, now_ns: int, served: list[PendingRead]) -> None:
        """Measure how long they waited for an index; those asked for in one event are one."""
        asked_ns, times = -1, 0
        for read in served:
            if read.asked_ns != asked_ns:
                if times and asked_ns >= 0:
                    self.waited_seconds.observe((now_ns - asked_ns) / 1e9, times)
                asked_ns, times = read.asked_ns, 0
            times += 1
        if times and asked_ns >= 0:
            self.waited_seconds.observe((now_ns - asked_ns) / 1e9, times)

    def expire(self, now_ns: int) -> list[Waiter]:
        """Take the waiters whose time is up."""
        if now_ns < self.deadline_ns:
            return []
        return self._take(lambda waiter: waiter.deadline_ns <= now_ns)

    def disconnect(self, connection: int) -> None:
        """Forget the reads of a connection that is gone."""
        self._take(lambda waiter: waiter.connection == connection)

    def _take(self, chosen: Callable[[Waiter], bool]) -> list[Waiter]:
        taken = [r.waiter for group in self.reads.values() for r in group if chosen(r.waiter)]
        left = {
            token: kept
            for token, group in self.reads.items()
            if (kept := [read for read in group if not chosen(read.waiter)])
        }
        deadlines = (read.waiter.deadline_ns for group in left.values() for read in group)
        self.reads, self.deadline_ns = left, min(deadlines, default=NEVER_NS)
        return taken
