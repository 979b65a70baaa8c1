"""The entries of a node's log, and the durable ones, derived from the effects of its core.

The invariants follow the log of a node from outside: entries and cuts as its core asks for them,
and what its storage reports durable of that. After a restart the node must have all of the latter.

Used by :mod:`cluster.simulation.invariants`.
"""

from __future__ import annotations

from cluster.ports import Recovered
from cluster.simulation.variant_invariants import Fail
from cluster.wire import Entry, HardState


class WatchedLog:
    """One node's log, as far as its effects tell: entries ``base + 1`` and up."""

    __slots__ = ("base", "base_generation", "entries")

    def __init__(self, base: int = 0, base_generation: int | None = 0) -> None:
        self.base = base
        self.base_generation = base_generation
        self.entries: list[Entry] = []

    @property
    def last_index(self) -> int:
        """Index of the last entry, or of the snapshot below all."""
        return self.base + len(self.entries)

    def entry_at(self, index: int) -> Entry | None:
        """The entry there; None if unknown or not there."""
        if self.base < index <= self.last_index:
            return self.entries[index - self.base - 1]
        return None

    def generation_at(self, index: int) -> int | None:
        """Generation of the entry there; None if unknown or not there."""
        if index == self.base:
            return self.base_generation
        entry = self.entry_at(index)
        return entry.generation if entry else None


class DurableState:
    """The writes of one node that are reported durable, and those under way."""

    __slots__ = ("_hard", "_last", "_pending")

    def __init__(self) -> None:
        #: writes not yet durable: (io_id, hard state or None, last (index, generation), lowest)
        self._pending: list[tuple[int, HardState | None, tuple[int, int] | None, int]] = []
        self._hard = HardState()
        self._last: tuple[int, int] = (0, 0)

    def asked(
        self,
        io_id: int,
        *,
        hard: HardState | None = None,
        last: tuple[int, int] | None,
        lowest: int,
    ) -> None:
        """A write is under way.

        Args:
            io_id: its id.
            hard: the hard state it holds, if it does.
            last: (index, generation) of the last entry it holds, if it holds any.
            lowest: the first index it may change.
        """
        self._pending.append((io_id, hard, last, lowest))

    def persisted(self, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        done = 0
        for pending_id, hard, last, lowest in self._pending:
            if pending_id > io_id:
                break
            done += 1
            if hard is not None:
                self._hard = hard
            if last is not None:
                self._last = last
            elif lowest <= self._last[0]:
                self._last = (lowest - 1, 0)
        del self._pending[:done]

    def restarted(self, log: WatchedLog, hard: HardState) -> None:
        """The node starts with this log and hard state: they are durable, and nothing else."""
        self._pending = []
        self._hard = hard
        self._last = (log.last_index, log.generation_at(log.last_index) or 0)

    def check(self, node: str, log: WatchedLog, disk: Recovered, fail: Fail) -> None:
        """A node starts with this log from its disk: nothing that was durable may be missing. A
        damaged disk excuses a node that says so, but for its vote."""
        owed, hard, snapshot = self._hard, disk.hard_state, disk.snapshot
        forgot_vote = hard.generation == owed.generation and owed.voted_for not in (
            "",
            hard.voted_for,
        )
        if hard.generation < owed.generation or forgot_vote:
            fail(
                "durable-hard-state",
                f"{node} restarted in generation {hard.generation} with vote "
                f"{hard.voted_for or 'for no node'}; durable was generation {owed.generation} with "
                f"vote {owed.voted_for or 'for no node'}",
                (node,),
            )
        if disk.damage is not None:
            return
        index, generation = self._last
        # A later write, not yet durable, may already have cut the log below.
        cut = min((pending[3] for pending in self._pending), default=index + 1) - 1
        snapshot_index = snapshot.index if snapshot is not None else 0
        if max(log.last_index, snapshot_index) < min(index, cut):
            fail(
                "durable-log",
                f"{node} restarted with a log up to {log.last_index}; up to {min(index, cut)} "
                "was reported durable",
                (node,),
            )
        found = log.generation_at(index)
        if cut >= index and generation and found is not None and found != generation:
            fail(
                "durable-log",
                f"{node} restarted with generation {found} at index {index}; generation "
                f"{generation} was reported durable",
                (node,),
            )
