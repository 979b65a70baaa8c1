"""Transaction: what one transaction has read and means to write, at the node where it began.

Problem. A transaction's writes must not be visible before it commits, and its own reads must see
them at once. At the end its groups must be told exactly what it read, to judge whether that holds.

Solution. Writes and appends are buffered here, the last one of each key counting, and laid over
what is read. Each read is remembered with the partition, the epoch and the log position at which it
was served. Nothing of this leaves the node before the transaction prepares, so a transaction that
is given up before leaves no trace.

Invariants. A key that was read at the transaction's timestamp is read once; the next read gives the
same. A key that the transaction has written as a whole needs no read, and none is validated.

Source: optimistic concurrency control (Kung and Robinson, 1981), with reads at a timestamp.
Pure; used by ``cluster.data.coordinator`` and ``cluster.data.commit_coordinator``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cluster.core.answers import short
from cluster.data.isolation_levels import NOWHERE, Isolation
from cluster.data.timestamped_values import APPEND, WRITE


class Place(NamedTuple):
    """Where a key is, as far as the node's map tells.

    Args:
        partition: its partition.
        epoch: of the partition.
        group: the group that has it.
    """

    partition: str
    epoch: int
    group: str


class KeyRead(NamedTuple):
    """A key that was read.

    Args:
        place: where.
        position: log index at which it was served.
        value: what it held; None if it was absent.
    """

    place: Place
    position: int
    value: Any


class RangeRead(NamedTuple):
    """A part of a range that was read, all in one partition.

    Args:
        place: where.
        position: log index at which it was served.
        low, high: its bounds.
        rows: [key, value] of every key in it.
    """

    place: Place
    position: int
    low: str
    high: str | None
    rows: list[list[Any]]


class Span(NamedTuple):
    """Keys from ``low`` up to but without ``high``; None for no end."""

    low: str
    high: str | None


class NotAList(Exception):
    """An append meets a value that is no list; the text says which."""


class Transaction:
    """One transaction.

    Args:
        id: unique among all transactions of all nodes and their lives.
        isolation: its level.
        started: the timestamp it reads at.
        closed_only: whether it only reads, and below the closed timestamps, at any node.
    """

    __slots__ = (
        "closed_only", "id", "isolation", "ranges", "reads", "seen", "shown", "started", "writes",
    )  # fmt: skip

    def __init__(
        self, id: str, isolation: Isolation, started: int, *, closed_only: bool = False
    ) -> None:
        self.id = id
        self.isolation = isolation
        self.started = started
        self.closed_only = closed_only
        self.reads: dict[str, KeyRead] = {}
        self.ranges: dict[Span, list[RangeRead]] = {}
        #: key -> (WRITE, value) or (APPEND, items)
        self.writes: dict[str, tuple[str, Any]] = {}
        #: the highest timestamp of a version that was read
        self.seen = 0
        #: keys and ranges whose reads have shown its own appends behind what was there
        self.shown: set[str | Span] = set()

    @property
    def read_timestamp(self) -> int | None:
        """What reads ask for: a timestamp, or None for the newest committed values."""
        return None if self.isolation.validated == NOWHERE else self.started

    @property
    def read_by(self) -> int:
        """No version that it has read is above this timestamp."""
        return self.started if self.read_timestamp is not None else max(self.started, self.seen)

    def is_validated(self, read: str | Span) -> bool:
        """Whether a read must still hold when it commits.

        At every level, what was shown behind a list's items must come behind these items.
        """
        return self.isolation.validated != NOWHERE or read in self.shown

    # -- reading -----------------------------------------------------------------------------------

    def needs_read(self, key: str) -> bool:
        """Whether the value of a key cannot be told from what is here."""
        return key not in self.reads and self.writes.get(key, (APPEND, None))[0] == APPEND

    def forget_reads(self) -> None:
        """The next reads are of the newest values, where the level wants it so."""
        if self.isolation.validated == NOWHERE:
            self.reads = {key: read for key, read in self.reads.items() if key in self.shown}
            self.ranges = {span: read for span, read in self.ranges.items() if span in self.shown}

    def note_read(self, key: str, read: KeyRead, timestamp: int) -> None:
        """A key was read, in the version of this timestamp."""
        self.reads[key] = read
        self.seen = max(self.seen, timestamp)

    def note_range(self, span: Span, parts: list[RangeRead], timestamp: int) -> None:
        """A range was read, all of it."""
        self.ranges[span] = parts
        self.seen = max(self.seen, timestamp)

    def value(self, key: str) -> Any:
        """What the transaction sees under a key that needs no read any more.

        Raises:
            NotAList: it has appended to what is no list.
        """
        how, written = self.writes.get(key, (APPEND, []))
        if how == WRITE:
            return written
        base = self.reads[key].value
        if not written:
            return base
        self.shown.add(key)
        return self._appended(key, base, written)

    def rows(self, span: Span) -> list[list[Any]]:
        """The keys and values that the transaction sees in a range that was read, in order.

        Raises:
            NotAList: it has appended to what is no list.
        """
        held = {key: value for part in self.ranges[span] for key, value in part.rows}
        for key, (how, written) in self.writes.items():
            if span.low <= key and (span.high is None or key < span.high):
                if how == APPEND:
                    self.shown.add(span)
                    written = self._appended(key, held.get(key), written)
                held[key] = written
        return [[key, held[key]] for key in sorted(held) if held[key] is not None]

    def _appended(self, key: str, base: Any, items: list[Any]) -> list[Any]:
        if base is None:
            return list(items)
        if type(base) is not list:
            raise NotAList(f"{key!r} holds {short(base)}, and only a list takes appends")
        return base + items

    # -- writing -----------------------------------------------------------------------------------

    def write(self, key: str, value: Any) -> None:
        """Put a value in place of what a key holds; None deletes it."""
        self.writes[key] = (WRITE, value)

    def append(self, key: str, item: Any) -> None:
        """Add an item at the end of the list that a key holds; an absent key holds an empty one.

        Raises:
            NotAList: the transaction has written something else there.
        """
        how, written = self.writes.get(key, (APPEND, []))
        self.writes[key] = (how, self._appended(key, written, [item]))
