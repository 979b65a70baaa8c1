"""Replicated Log: the same commands in the same order on every node.

Problem. Nodes that apply the same commands in different orders diverge for ever.

Solution. Each node keeps a log of entries. Each entry has an index and the generation of the leader
that created it. A leader sends entries together with the (index, generation) of the entry before
them. A follower that does not have exactly that entry refuses, and says where its own log could
agree, a whole generation at a time. A follower cuts its log only where an entry really differs,
never because a message was short: an old duplicate must not undo newer entries.

Invariants. Log matching: if two logs hold an entry of the same index and generation, they are equal
up to there. Entries are contiguous, in memory and as written. Generations never fall along a log.
What is at or below the high-water mark never changes. Applying is deterministic.

What breaks without it. A18: cutting after every append undoes acknowledged entries. A16, A17: see
the High-Water Mark. A62: a stale snapshot or a log not reset rewinds the state. A25: a command that
looks at a local clock diverges.

Source: Joshi, "Replicated Log"; Raft paper 5.3, 7; the async storage notes of etcd's raft for why a
completed write must be named by its id and not by an index. Pure data structures: the in-memory
image of the log, and :class:`WriteOrder`, which says what of it is durable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from cluster.ports import Append, Effect, Recovered, SaveSnapshot
from cluster.wire import Entry, HardState, Snapshot


class ReplicatedLog:
    """Entries in memory, above a base whose index and generation are still known.

    Args:
        index, generation: of the base, the last entry *not* held.
    """

    __slots__ = ("_entries", "base_generation", "base_index")

    def __init__(self, index: int = 0, generation: int = 0) -> None:
        self.base_index = index
        self.base_generation = generation
        self._entries: list[Entry] = []

    @classmethod
    def recover(cls, recovered: Recovered) -> ReplicatedLog:
        """The log as storage found it.

        Raises:
            ValueError: there is a gap between the snapshot and the entries, or between entries.
        """
        snapshot, entries = recovered.snapshot, recovered.entries
        base = (snapshot.index, snapshot.generation) if snapshot else (0, 0)
        if entries and entries[0].index <= base[0]:
            # The entry before the first one is gone: the first serves as the base instead.
            base, entries = (entries[0].index, entries[0].generation), entries[1:]
        log = cls(*base)
        for expected, entry in enumerate(entries, base[0] + 1):
            if entry.index != expected:
                raise ValueError(f"the log has entry {entry.index} where {expected} must be")
        log._entries = log.kept(entries)
        if snapshot and log.last_index < snapshot.index:
            log.reset(snapshot.index, snapshot.generation)
        return log

    def kept(self, entries: Sequence[Entry]) -> list[Entry]:
        """Decision: which of the entries found after a restart are still in the log: all. Whether
        they are committed is for the next leader to find out."""
        return list(entries)

    @property
    def first_index(self) -> int:
        """Index of the first entry held (one more than the last if none is)."""
        return self.base_index + 1

    @property
    def last_index(self) -> int:
        """Index of the last entry."""
        return self.base_index + len(self._entries)

    @property
    def last_generation(self) -> int:
        """Generation of the last entry."""
        return self._entries[-1].generation if self._entries else self.base_generation

    def generation_at(self, index: int) -> int | None:
        """Generation of the entry at an index; None if it is not known here."""
        offset = index - self.base_index
        if 0 < offset <= len(self._entries):
            return self._entries[offset - 1].generation
        return self.base_generation if offset == 0 else None

    def entry_at(self, index: int) -> Entry | None:
        """The entry at an index, None if it is not held."""
        offset = index - self.base_index
        return self._entries[offset - 1] if 0 < offset <= len(self._entries) else None

    def between(self, first: int, last: int) -> list[Entry]:
        """Entries from ``first`` to ``last``, as far as they are held."""
        return self._entries[max(0, first - self.first_index) : max(0, last - self.base_index)]

    def matches(self, index: int, generation: int) -> bool:
        """Whether this log agrees with a leader's up to an index.

        Below the base everything was applied, so committed, so equal to any leader's.
        """
        return index < self.base_index or self.generation_at(index) == generation

    def missing(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Decision: the part of a leader's entries which is not in this log: from the first that
        differs. Where none does nothing is cut, however short the message. Each entry is looked at,
        since a batch that is sent again may be longer than it was."""
        for position, entry in enumerate(entries):
            if entry.index <= self.base_index:
                continue
            if self.generation_at(entry.index) != entry.generation:
                return entries[position:] if position else entries
        return ()

    def conflict_hint(self, index: int, generation: int) -> tuple[int, int]:
        """Where agreement may begin: the last (index, generation) at or below both arguments.

        A follower that refused (index, generation) answers with it; the leader applies it to its
        own log in turn. Each exchange skips a whole generation, not one entry.
        """
        at = min(index, self.last_index)
        while at > self.base_index:
            own = self._entries[at - self.base_index - 1].generation
            if own <= generation:
                return at, own
            at -= 1
        return at, self.base_generation if at == self.base_index else 0

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add consecutive entries right after the last one."""
        assert entries and entries[0].index == self.last_index + 1, (
            f"entry {entries[0].index if entries else None} does not follow {self.last_index}"
        )
        assert entries[0].generation >= self.last_generation, (
            f"entry {entries[0].index} of generation {entries[0].generation} follows one of "
            f"{self.last_generation}"
        )
        self._entries.extend(entries)

    def truncate_from(self, index: int) -> None:
        """Drop the entry at an index and all after it."""
        assert index > self.base_index, f"a cut at {index} is below the base {self.base_index}"
        del self._entries[index - self.first_index :]

    def compact(self, index: int) -> None:
        """Drop everything up to and including an index, which becomes the base."""
        generation = self.generation_at(index)
        if generation is None or index <= self.base_index:
            return
        del self._entries[: index - self.base_index]
        self.base_index, self.base_generation = index, generation

    def reset(self, index: int, generation: int) -> None:
        """Drop everything: a snapshot at (index, generation) takes its place."""
        self._entries = []
        self.base_index, self.base_generation = index, generation


class WriteOrder:
    """The writes of a node: collected during an event, issued in order, known durable in order.

    A write is named by its io id alone. When the log is cut and grown again while a write is under
    way, the completion of the older write says nothing about the newer entries at the same index,
    so a cut also takes back what outstanding writes promise.

    Args:
        durable_index: last index that recovery found.
    """

    __slots__ = (
        "_cut_from",
        "_effects",
        "_end",
        "_entries",
        "_entries_io",
        "_hard",
        "_hard_io",
        "_open",
        "_outstanding",
        "_repaired",
        "durable_index",
        "io_durable",
        "io_issued",
    )

    def __init__(self, durable_index: int = 0) -> None:
        self.durable_index = durable_index
        self._end = durable_index
        self.io_issued = 0
        self.io_durable = 0
        self._hard_io = 0
        self._entries_io = 0
        self._open = False
        self._hard: HardState | None = None
        self._repaired = False
        self._entries: Sequence[Entry] = ()
        self._cut_from = 0
        self._outstanding: deque[tuple[int, int]] = deque()
        self._effects: list[Effect] = []

    def _begin(self) -> int:
        if not self._open:
            self._open = True
            self.io_issued += 1
        return self.io_issued

    def _finish(self) -> None:
        if self._open:
            write = Append(
                self.io_issued, self._hard, tuple(self._entries), self._cut_from, self._repaired
            )
            self._effects.append(write)
            self._open, self._hard, self._entries = False, None, ()
            self._cut_from, self._repaired = 0, False

    def hard_state_first(self) -> bool:
        """Decision: whether what is said in a generation waits until that generation, and the vote
        in it, are durable."""
        return True

    def hard_state(self, hard_state: HardState) -> None:
        """Write a hard state, together with whatever else this event writes."""
        if self._entries:
            self._finish()
        self._hard = hard_state
        self._hard_io = self._begin()

    def repaired(self) -> int:
        """Write down that the damage is repaired, after everything so far; the io id."""
        self._repaired = True
        return self._begin()

    def append(self, entries: Sequence[Entry], *, along: HardState | None = None) -> None:
        """Write entries; they may start at or below an index written before, which cuts there.

        Args:
            entries: consecutive ones.
            along: a hard state to write with them, of which nothing that is said depends on.
        """
        first, last = entries[0].index, entries[-1].index
        assert first <= self._end + 1 and last - first == len(entries) - 1, (
            f"entries {first} to {last}, {len(entries)} of them, do not continue {self._end}"
        )
        self._end = last
        if self._entries:
            self._finish()
        io_id = self._entries_io = self._begin()
        self._entries = entries
        self._hard = along or self._hard
        self.cut(first)
        self._outstanding.append((io_id, last))

    def truncate(self, index: int) -> None:
        """Write that the entries from an index on are gone, with nothing in their place yet."""
        assert index <= self._end, f"nothing is to be cut at {index}: the log ends at {self._end}"
        if self._entries:
            self._finish()
        self._begin()
        self._cut_from, self._end = index, index - 1
        self.cut(index)

    def cut(self, index: int) -> None:
        """Entries from an index on are gone: no earlier write can make them durable any more."""
        self.durable_index = min(self.durable_index, index - 1)
        if any(last >= index for _io_id, last in self._outstanding):
            self._outstanding = deque(
                (io_id, min(last, index - 1)) for io_id, last in self._outstanding
            )

    def snapshot(self, snapshot: Snapshot, *, keep_from: int, reset_log: bool = False) -> int:
        """Write a snapshot after everything else; the io id."""
        self._finish()
        self.io_issued += 1
        if reset_log:
            self.cut(1)
            self._end = snapshot.index
        self._outstanding.append((self.io_issued, snapshot.index))
        self._effects.append(SaveSnapshot(self.io_issued, snapshot, keep_from, reset_log))
        return self.io_issued

    def take(self) -> list[Effect]:
        """The writes of this event, in order."""
        if self._open:
            self._finish()
        effects, self._effects = self._effects, []
        return effects

    def persisted(self, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        assert io_id <= self.io_issued, f"write {io_id} is durable, and {self.io_issued} the last"
        self.io_durable = max(self.io_durable, io_id)
        while self._outstanding and self._outstanding[0][0] <= io_id:
            self.durable_index = max(self.durable_index, self._outstanding.popleft()[1])

    @property
    def entries_outstanding(self) -> bool:
        """Whether a write of entries is under way."""
        return self._entries_io > self.io_durable

    @property
    def hard_state_write(self) -> int:
        """The write of the newest hard state, durable or not."""
        return self._hard_io

    @property
    def after_hard_state(self) -> int:
        """The write that must be durable before anything said in this generation leaves; or 0."""
        waits = self._hard_io > self.io_durable and self.hard_state_first()
        return self._hard_io if waits else 0

    def after_index(self, index: int) -> int:
        """The write that must be durable before entries up to ``index`` may be acknowledged."""
        if index > self.durable_index:
            for io_id, last in self._outstanding:
                if last >= index:
                    return max(io_id, self.after_hard_state)
        return self.after_hard_state
