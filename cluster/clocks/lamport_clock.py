"""Lamport Clock: a number for each event, above the numbers of all events that led to it.

Problem. Versions of one value are made on many nodes. Their wall clocks disagree, so a later write
may get the lower version and lose to the one that it was meant to replace.

Solution. Every node counts. The next number is one above the highest that the node has issued or
seen. Every message carries the sender's highest number, and so do answers to clients, who bring it
to the node that they ask next. An effect thus has a higher number than its cause, wherever both
happened. Numbers of events that do not know of each other say nothing; the node's name makes them
differ.

A restart must not begin anew. A bound is made durable ahead of the numbers up to it, a thousand at
a time, and after a restart the node begins above the last durable bound.

Invariants. A number issued is above every number issued and observed before on this node, restarts
included. No number above the durable bound is issued.

What breaks without it. A45a: what a node hears does not raise its number, and a later write loses
to its own cause. A45b: a node begins at 0 again, and its new writes lose to its old ones.

Source: Lamport, "Time, Clocks, and the Ordering of Events in a Distributed System" (1978); Joshi,
"Lamport Clock". Pure; used by ``cluster.leaderless``.
"""

from __future__ import annotations

from typing import Final

#: Numbers that one durable bound gives.
RESERVE: Final = 1_000


class LamportClock:
    """One node's counter.

    Args:
        durable: the last durable bound; 0 on a new node.
        reserve: how far above the last number the next bound lies.

    Raises:
        ValueError: the bound is negative, or the reserve below 1.
    """

    __slots__ = ("_reserve", "_wanted", "durable", "last")

    def __init__(self, durable: int = 0, *, reserve: int = RESERVE) -> None:
        if durable < 0 or reserve < 1:
            raise ValueError(f"durable is {durable}, reserve {reserve}: at least 0 and 1")
        self._reserve = reserve
        self._wanted = durable
        #: no number above this is issued
        self.durable = durable
        #: the highest number issued, observed, or perhaps issued before the last restart
        self.last = self.begins_at(durable)

    def begins_at(self, durable: int) -> int:
        """Decision: the number that a new life of the node begins above."""
        return durable

    def highest(self, remote: int) -> int:
        """Decision: the highest number known, once a remote one was heard of."""
        return max(self.last, remote)

    def observe(self, remote: int) -> None:
        """A number came with a message, a value read, or a client."""
        self.last = self.highest(remote)

    @property
    def ready(self) -> bool:
        """Whether the next number may be issued now."""
        return self.last < self.durable

    def issue(self) -> int:
        """The next number; only while the clock is :attr:`ready`."""
        assert self.ready, f"{self.last + 1} is above the durable bound {self.durable}"
        self.last += 1
        return self.last

    def bound_wanted(self) -> int:
        """The bound that must be made durable now; 0 if there is none. Each is named once."""
        if self.last + self._reserve // 2 < self._wanted:
            return 0
        self._wanted = self.last + self._reserve
        return self._wanted

    def bound_durable(self, bound: int) -> None:
        """A bound that was wanted is durable."""
        assert bound <= self._wanted, f"the bound {bound} was not asked for ({self._wanted} was)"
        self.durable = max(self.durable, bound)
