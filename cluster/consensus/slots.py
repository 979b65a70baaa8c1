"""Slots: what an acceptor has accepted, slot by slot, in a log that is written as one.

Problem. In Multi-Paxos each slot is decided by itself. Under a new ballot the slots 4 and 5 may be
accepted again while 6 keeps what an older ballot put there; a message may be lost, and leave 7
empty while 8 is accepted. A write-ahead log knows only one operation: go on after an index, and
drop what was there.

Solution. The log holds one entry per slot, and the entry's generation is the ballot under which it
was accepted. A slot that was passed over holds a *hole*. A change in the middle is one write: the
new entries and, after them, every kept entry up to the end. One write is one record with one
checksum, so a crash leaves the slots as they were before, or as they are after it.

``agreed`` is the slot up to which each value is accepted under the ballot that is promised, or
known to be chosen. Under one ballot there is one proposer, with one value per slot. So, if the
proposer says that everything up to a slot is chosen, the values here are the chosen ones, as far as
``agreed`` goes.

What is known to be chosen is written along with the entries that come next. No answer waits for
that, and it may be old after a crash; but without it a restarted cluster would have to accept every
slot since its last snapshot again.

Invariants. A slot's ballot never goes down, and an accepted value is never forgotten, only replaced
under a higher ballot. What is known to be chosen is never replaced. ``agreed`` passes no hole.

What breaks without it. A23: a hole is passed over, and a command is executed that is not there.
A23b: a value of an older ballot is taken for the chosen one. A20d: the kept entries are cut off.

Source: Lamport, "Paxos Made Simple" (2001), section 3; van Renesse and Altinbuken, "Paxos Made
Moderately Complex" (2015), for acceptors that keep the highest ballot per slot. Used by acceptors
and, for its own log, by the proposer of the Multi-Paxos core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from cluster.clocks.generation_clock import GenerationClock
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.interface import SafetyViolation
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.ports import NodeId
from cluster.wire import Entry, HardState

#: The kind of an entry that says that nothing is accepted in its slot.
HOLE: Final = "hole"
NOOP: Final = "noop"

#: Most slots that an acceptor leaves empty to accept one above them. Beyond it the proposer is told
#: where to go on: something was lost, and what follows would only be written twice.
HOLES_MAX = 256


def under(ballot: int, entry: Entry) -> Entry:
    """The entry as it is proposed, or accepted, under a ballot."""
    if entry.generation == ballot:
        return entry
    return Entry(entry.index, ballot, entry.kind, entry.data)


class Slots:
    """An acceptor's slots, over its log.

    Args:
        node: whose, for complaints.
        clock: the ballot that is promised.
        log: the entries.
        writes: what of them is durable.
        mark: what is known to be chosen.
    """

    __slots__ = ("_agreed", "_clock", "_log", "_mark", "_node", "_writes")

    def __init__(
        self,
        node: NodeId,
        *,
        clock: GenerationClock,
        log: ReplicatedLog,
        writes: WriteOrder,
        mark: HighWaterMark,
    ) -> None:
        self._node = node
        self._clock = clock
        self._log = log
        self._writes = writes
        self._mark = mark
        self._agreed = mark.index

    # -- decisions ---------------------------------------------------------------------------------

    def is_accepted(self, entry: Entry, ballot: int) -> bool:
        """Decision: whether a slot's entry is a value accepted under this ballot."""
        return entry.generation == ballot and entry.kind != HOLE

    def kept(self, last: int) -> list[Entry]:
        """Decision: the entries after ``last`` that a change below them must write again."""
        return self._log.between(last + 1, self._log.last_index)

    # -- what is there -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Another ballot is promised: nothing is accepted under it yet."""
        self._agreed = self._mark.index

    def agreed(self, ballot: int) -> int:
        """The slot up to which each value is accepted under a ballot, or known to be chosen.

        Args:
            ballot: the one that is promised; since :meth:`begin` always the same.
        """
        at, log = max(self._agreed, self._mark.index), self._log
        while (entry := log.entry_at(at + 1)) is not None and self.is_accepted(entry, ballot):
            at += 1
        self._agreed = at
        return at

    def reported(self, first: int, entries_max: int) -> list[Entry]:
        """Up to so many entries from a slot on, for a proposer; holes are among them."""
        return self._log.between(first, min(self._log.last_index, first + entries_max - 1))

    # -- accepting ---------------------------------------------------------------------------------

    def in_reach(self, first: int) -> bool:
        """Whether a slot may be accepted without leaving too many empty below it."""
        return first - self._log.last_index - 1 <= HOLES_MAX

    def accept(self, ballot: int, entries: Sequence[Entry]) -> None:
        """Accept values under a ballot, for consecutive slots; those accepted so already, and those
        known to be chosen, are left alone.

        Raises:
            SafetyViolation: a value differs from the one that is known to be chosen.
        """
        missing = [entry for entry in entries if self._is_news(ballot, entry)]
        if not missing:
            return
        first, last = missing[0].index, missing[-1].index
        end = self._log.last_index
        holes = [Entry(index, ballot, HOLE) for index in range(end + 1, first)]
        news = [entry for entry in entries if first <= entry.index <= last]
        written = (*holes, *news, *self.kept(last))
        if written[0].index <= end:
            self._log.truncate_from(written[0].index)
        self.write(written)

    def write(self, entries: Sequence[Entry]) -> None:
        """Add entries after the last slot that is left, durably."""
        self._log.extend(entries)
        self._writes.append(entries, along=self.hard_state())

    def hard_state(self) -> HardState:
        """The promise, and what is known to be chosen: every earlier write has that."""
        return msgspec.structs.replace(self._clock.hard_state(), chosen=self._mark.index)

    def _is_news(self, ballot: int, entry: Entry) -> bool:
        assert entry.generation == ballot, f"{entry} is proposed under {ballot}"
        held = self._log.entry_at(entry.index)
        if entry.index > self._mark.index:
            return held is None or not self.is_accepted(held, ballot)
        if held is not None and (held.kind, held.data) != (entry.kind, entry.data):
            raise SafetyViolation(
                f"{self._node}: ballot {ballot} proposes another value for slot {entry.index}, "
                f"and everything up to {self._mark.index} is chosen"
            )
        return False
