"""Phase 1: what a proposer must hear before it proposes anything.

Problem. Earlier proposers may have had values chosen, and may have died before telling anyone. A
new proposer that puts another value into such a slot undoes what was acknowledged.

Solution. The proposer asks for promises over every slot from the first one on that it does not know
to be chosen: once per leadership, not once per slot. When a majority has promised, nothing more can
be chosen under a lower ballot, and each value that was chosen is in at least one of the promises.
Per slot the proposer takes over the value accepted under the highest ballot. A slot below the last
one reported, for which no promise holds a value, has no chosen value: it gets a no-op, so that what
is above it can be executed. A long report comes in parts; a promise counts when it is whole.

Invariants. The proposer's first proposals cover every slot from the first open one to the last one
that any promise tells of. A value that was chosen is proposed again, and nothing else.

What breaks without it. A21: a proposer that ignores accepted values undoes chosen ones. A21b: so
does one that takes over a value of a lower ballot. Without no-ops the slots above a hole are never
executed.

Source: Lamport, "Paxos Made Simple" (2001), 2.2 (P2c) and 3. One candidacy's bookkeeping; used by
the Multi-Paxos core.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.consensus.slots import HOLE, NOOP, under
from cluster.ports import NodeId
from cluster.wire import Entry, Promise


class PhaseOne:
    """The promises of one ballot.

    Args:
        ballot: which.
        first: the first slot that is asked for.
    """

    __slots__ = ("_told", "_values", "ballot", "due_ns", "end", "first", "marks")

    def __init__(self, ballot: int, first: int) -> None:
        self.ballot = ballot
        self.first = first
        #: when to ask again: a question, or its answer, may be lost
        self.due_ns = 0
        #: the last slot that a promise tells of
        self.end = first - 1
        #: per acceptor whose promise is whole, the slot up to which it knows all to be chosen
        self.marks: dict[NodeId, int] = {}
        self._values: dict[int, Entry] = {}
        #: per acceptor, the last slot it has told of
        self._told: dict[NodeId, int] = {}

    # -- decisions ---------------------------------------------------------------------------------

    def prefers(self, entry: Entry, known: Entry) -> bool:
        """Decision: whether a value reported for a slot takes the place of one reported before."""
        return entry.generation > known.generation

    def proposal(self, slot: int) -> Entry:
        """Decision: what is proposed for a slot first of all."""
        accepted = self._values.get(slot)
        return under(self.ballot, accepted) if accepted else self.filler(slot)

    def filler(self, slot: int) -> Entry:
        """Decision: what is proposed for a slot of which no promise tells a value."""
        return Entry(slot, self.ballot, NOOP)

    # -- promises ----------------------------------------------------------------------------------

    def asks_from(self, acceptor: NodeId) -> int:
        """The slot from which an acceptor is to be asked next."""
        return self._told.get(acceptor, self.first - 1) + 1

    def hear(self, source: NodeId, promise: Promise) -> bool:
        """Take a part of a promise; False if it is not the part asked for.

        Once the promise is whole, the acceptor is in :attr:`marks`.
        """
        if promise.first != self.asks_from(source) or source in self.marks:
            return False
        self._told[source] = told = max(promise.told, promise.first - 1)
        self.report(promise.accepted, promise.end)
        if told >= promise.end:
            self.marks[source] = promise.high_water_mark
        return True

    def report(self, accepted: Iterable[Entry], end: int) -> None:
        """An acceptor has accepted these, and has nothing after ``end``."""
        self.end = max(self.end, end)
        for entry in accepted:
            known = self._values.get(entry.index)
            if entry.kind != HOLE and (known is None or self.prefers(entry, known)):
                self._values[entry.index] = entry

    def proposals(self) -> list[Entry]:
        """What a proposer with a majority of promises proposes for the slots that are open.

        The very first slot is always among them: index 0 is no index that a read could be served
        at.
        """
        return [self.proposal(slot) for slot in range(self.first, max(self.end, 1) + 1)]
