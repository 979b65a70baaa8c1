"""Timestamped values: the versions of a partition's keys, in the order of commit timestamps.

Problem. Transactions over many groups read several keys as they were at one timestamp, while others
commit. A log index orders the changes of one group only, so it cannot be the version here.

Solution. A version is named by the timestamp its transaction committed at (Versioned Value, with
hybrid timestamps), and remembers the log index at which it was installed. A read at a timestamp
takes the newest version at or below it. The index answers another question: whether a version was
there when a transaction read, or came later with a lower timestamp than the read. A list that grows
by appends is stored once; its versions share it, and each knows how long the list was.

Versions that no read at or above a timestamp can see are collected; reads below it are refused. A
tombstone that is collected leaves the highest index of such in ``forgotten``: a transaction that
read before that index cannot be validated any more, since a change that it must notice may be gone.

Invariants. The timestamps of a key only grow, in the order of installation. A version never
changes. What is visible at a timestamp at or above the floor stays visible until a collection.

What breaks without it. A34c: with one value per key, a read of several keys sees half of a
transaction. A34d: a read below the floor misses what was collected.

Source: Joshi, "Versioned Value"; CockroachDB's and TiKV's multi-version stores.
Part of the replicated state of a data group; pure and deterministic.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from cluster.core.answers import DigestSum, short
from cluster.data.sorted_keys import SortedKeys

#: Ways of writing: a value in place of the old one (None deletes), or items at a list's end.
WRITE: Final = "w"
APPEND: Final = "append"


class Version(NamedTuple):
    """One version of a key.

    Args:
        timestamp: of the transaction that wrote it.
        data: the value; None if the key was deleted. A list may be longer by now: see ``length``.
        length: how many items of ``data`` belong to this version; -1 if it is no list.
        installed: log index at which it became visible.
    """

    timestamp: int
    data: Any
    length: int
    installed: int

    @property
    def value(self) -> Any:
        """The value as of this version: a list of its own, if it is a list."""
        return self.data if self.length < 0 else self.data[: self.length]


def timestamp_of(version: Version) -> int:
    """The key versions are sorted by."""
    return version.timestamp


class TimestampedValues:
    """The keys of one partition and their versions."""

    __slots__ = ("_digest", "_keys", "_old", "_sorted", "floor", "forgotten")

    def __init__(self) -> None:
        self._keys: dict[str, list[Version]] = {}
        self._sorted = SortedKeys()
        #: keys that a collection may find something at: several versions, or a tombstone
        self._old: dict[str, None] = {}
        #: the lowest timestamp that can be read
        self.floor = 0
        #: the highest index of a tombstone that was collected
        self.forgotten = 0
        self._digest = DigestSum()

    def __len__(self) -> int:
        return len(self._keys)

    # -- reading -----------------------------------------------------------------------------------

    def may_read(self, timestamp: int) -> bool:
        """Decision: whether the versions visible at a timestamp are all still there."""
        return timestamp >= self.floor

    def visible(self, versions: list[Version], timestamp: int) -> Version | None:
        """Decision: which of a key's versions a read at a timestamp sees: the newest up to it."""
        if versions[-1].timestamp <= timestamp:
            return versions[-1]
        place = bisect_right(versions, timestamp, key=timestamp_of)
        return versions[place - 1] if place else None

    def at(self, key: str, timestamp: int) -> Version | None:
        """The version of a key that a read sees, a tombstone perhaps; None if there is none."""
        versions = self._keys.get(key)
        return self.visible(versions, timestamp) if versions else None

    def newest(self, key: str) -> Version | None:
        """The newest version of a key, a tombstone perhaps."""
        versions = self._keys.get(key)
        return versions[-1] if versions else None

    def newest_below(self, key: str, timestamp: int) -> Version | None:
        """The newest version at or below a timestamp, whatever reads are shown."""
        versions = self._keys.get(key)
        if not versions:
            return None
        place = bisect_right(versions, timestamp, key=timestamp_of)
        return versions[place - 1] if place else None

    def keys(self, low: str, high: str | None) -> Iterator[str]:
        """Keys with versions from ``low`` up to but without ``high`` (None: to the end)."""
        yield from self._sorted.between(low, high)

    def middle(self) -> str | None:
        """The first key of the upper half, where a range may be split; None if there is none."""
        return self._sorted.middle()

    # -- changing ----------------------------------------------------------------------------------

    def write_problem(self, key: str, how: str) -> str:
        """Why a key cannot be written in this way now; "" if it can."""
        newest = self.newest(key) if how == APPEND else None
        if newest is None or newest.data is None or newest.length >= 0:
            return ""
        return f"{key!r} holds {short(newest.data)}, and only a list takes appends"

    def install(self, index: int, timestamp: int, key: str, how: str, value: Any) -> None:
        """Add a version; the caller has looked for a :meth:`write_problem`.

        Args:
            index: of the log.
            timestamp: of the transaction, above all versions of the key.
            key: the key.
            how: WRITE or APPEND.
            value: the value, which becomes the store's own, or the list of items appended.
        """
        versions = self._keys.get(key)
        if versions is None:
            versions = self._keys[key] = []
            self._sorted.add(key)
        newest = versions[-1] if versions else None
        assert newest is None or newest.timestamp < timestamp, (
            f"{key!r} gets a version at {timestamp}, and has one at {newest.timestamp}"
        )
        data, length = value, len(value) if type(value) is list else -1
        if how == APPEND and newest is not None and newest.length >= 0:
            data, length = newest.data, newest.length + len(value)
            assert len(data) == newest.length, f"{key!r} has items that no version knows"
            data.extend(value)
        versions.append(Version(timestamp, data, length, index))
        if len(versions) > 1 or value is None:
            self._old[key] = None
        self._digest.touch(key)

    def collect(self, below: int) -> int:
        """Drop what no read at or above a timestamp sees; how many versions that were."""
        if below <= self.floor:
            return 0
        self.floor = below
        dropped = 0
        for key in list(self._old):
            versions = self._keys[key]
            place = bisect_right(versions, below, key=timestamp_of) - 1
            if place > 0:
                del versions[:place]
                self._digest.touch(key)
                dropped += place
            if len(versions) == 1:
                if versions[0].data is not None:
                    del self._old[key]
                elif versions[0].timestamp <= below:
                    self.forgotten = max(self.forgotten, versions[0].installed)
                    self._forget(key)
                    dropped += 1
        return dropped

    def _forget(self, key: str) -> None:
        del self._keys[key], self._old[key]
        self._sorted.remove(key)
        self._digest.touch(key)

    # -- splitting and merging ---------------------------------------------------------------------

    def cut(self, at: str) -> TimestampedValues:
        """Move the keys from ``at`` on to another store, which is returned."""
        right = type(self)()
        right.floor, right.forgotten = self.floor, self.forgotten
        right._sorted = self._sorted.cut(at)
        for key in right._sorted:
            right._keys[key] = self._keys.pop(key)
            self._digest.touch(key)
            if key in self._old:
                del self._old[key]
                right._old[key] = None
        return right

    def join(self, right: TimestampedValues) -> None:
        """Take all keys of another store, which are above those here."""
        self._keys.update(right._keys)
        self._sorted.join(right._sorted)
        self._old.update(right._old)
        self.floor = max(self.floor, right.floor)
        self.forgotten = max(self.forgotten, right.forgotten)
        for key in right._sorted:
            self._digest.touch(key)

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """Everything: JSON-like; a list is written once per key."""
        rows = [(key, _encoded(self._keys[key])) for key in self._sorted]
        return (self.floor, self.forgotten, rows)

    def restore(self, state: Any, *, installed: int = 0) -> None:
        """Replace everything by what :meth:`encode` gave, decoded afresh.

        Args:
            state: what was encoded.
            installed: the log index that all versions get, where they come from another log.
        """
        self.floor, self.forgotten, rows = state
        if installed:
            self.forgotten = installed
        self._keys = {key: _decoded(versions, installed) for key, versions in rows}
        self._sorted = SortedKeys(self._keys)
        self._old = {
            key: None
            for key, versions in self._keys.items()
            if len(versions) > 1 or versions[0].data is None
        }
        self._digest = DigestSum()

    def digest(self) -> int:
        """Hash of everything, equal for equal stores; it costs the keys changed since the last."""
        return self._digest.value(self._row, self._keys) + 3 * self.floor + 5 * self.forgotten

    def _row(self, key: str) -> Any:
        versions = self._keys.get(key)
        return None if versions is None else _encoded(versions)


def _encoded(versions: list[Version]) -> list[Any]:
    """Rows of (timestamp, length, installed, data); data of a version that shares its list with the
    one before is None, and the list is written as long as its longest version."""
    rows: list[Any] = []
    first = 0  # of the versions that share a list
    for place, (timestamp, data, length, installed) in enumerate(versions):
        shares = place > 0 and length >= 0 and data is versions[place - 1].data
        first = first if shares else place
        rows.append([timestamp, length, installed, None if shares else data])
        goes_on = place + 1 < len(versions) and versions[place + 1].data is data
        if length >= 0 and not goes_on:
            rows[first][3] = data[:length]
    return rows


def _decoded(rows: list[Any], installed: int) -> list[Version]:
    versions: list[Version] = []
    for timestamp, length, index, data in rows:
        if length >= 0 and data is None:
            data = versions[-1].data
        versions.append(Version(timestamp, data, length, installed or index))
    return versions


def check_rows(state: Any) -> str:
    """Why something is not what :meth:`TimestampedValues.encode` gives; "" if it is."""
    try:
        floor, forgotten, rows = state
        ordered = [key for key, _ in rows]
        good = type(floor) is int and type(forgotten) is int
        good = good and all(type(key) is str for key in ordered)
        good = good and ordered == sorted(set(ordered))
        for _, versions in rows:
            good = good and bool(versions) and _rows_are_sound(versions)
    except (TypeError, ValueError):
        good = False
    return "" if good else "the data is not that of an exported partition"


def _rows_are_sound(versions: Any) -> bool:
    before, longest = -1, -1
    for timestamp, length, index, data in versions:
        if not (type(timestamp) is int and type(length) is int and type(index) is int):
            return False
        if data is not None or length < 0:
            longest = len(data) if type(data) is list else -1
        if timestamp <= before or length > longest or (type(data) is list and length < 0):
            return False
        before = timestamp
    return True
