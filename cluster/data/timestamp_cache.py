"""Timestamp cache: up to which timestamp a key was read, so that no commit comes in below.

Problem. A transaction has read a key and committed at a timestamp. Another one, whose clock is
slow, then writes the key at a lower timestamp. In the order of timestamps the reader should have
seen that write, and has not.

Solution. When reads are validated at a timestamp, the group remembers it for the keys and ranges
that were read. A later write of such a key must commit above; a transaction that asks for less is
told the least timestamp that would do. The cache is part of the replicated state, since a new
leader must know it, and it moves with its partition. Its size is bounded: when it is full the lower
half of its entries is replaced by one floor for all keys, which is stricter and never wrong. What
lies at or below the group's closed timestamp is dropped, because the closed timestamp covers it.

Invariants. The bound of a key never goes back. It is at least every timestamp at which a read of
the key was validated and that is not closed.

What breaks without it. A44: a commit below a read that was served: write skew, lost updates.

Source: CockroachDB's timestamp cache. Part of the replicated state of a data group; pure.
"""

from __future__ import annotations

from typing import Any, Final

from cluster.core.answers import DigestSum

#: Most keys and most ranges that are remembered one by one.
POINTS_MAX: Final = 4_096
RANGES_MAX: Final = 64


class TimestampCache:
    """The read timestamps of one partition."""

    __slots__ = ("_digest", "floor", "points", "ranges")

    def __init__(self) -> None:
        #: no write of any key commits at or below this
        self.floor = 0
        self.points: dict[str, int] = {}
        #: (low, high) -> timestamp; high None for no end
        self.ranges: dict[tuple[str, str | None], int] = {}
        self._digest = DigestSum()

    def served_at(self, key: str) -> int:
        """Decision: the timestamp of a key's last read; its writes must commit above."""
        bound = max(self.points.get(key, 0), self.floor)
        for (low, high), timestamp in self.ranges.items():
            if timestamp > bound and low <= key and (high is None or key < high):
                bound = timestamp
        return bound

    def read(self, key: str, timestamp: int) -> None:
        """A read of a key was validated at a timestamp."""
        if timestamp <= max(self.points.get(key, 0), self.floor):
            return
        self.points[key] = timestamp
        self._digest.touch(key)
        if len(self.points) > POINTS_MAX:
            self.forget(sorted(self.points.values())[POINTS_MAX // 2], raises_floor=True)

    def read_range(self, low: str, high: str | None, timestamp: int) -> None:
        """A read of all keys from ``low`` up to but without ``high`` was validated."""
        if timestamp <= max(self.ranges.get((low, high), 0), self.floor):
            return
        self.ranges[low, high] = timestamp
        if len(self.ranges) > RANGES_MAX:
            self.forget(sorted(self.ranges.values())[RANGES_MAX // 2], raises_floor=True)

    def forget(self, upto: int, *, raises_floor: bool = False) -> None:
        """Drop the entries at or below a timestamp.

        Args:
            upto: the timestamp.
            raises_floor: whether the floor takes their place; if not, something else must.
        """
        if raises_floor:
            self.floor = max(self.floor, upto)
        for key in [key for key, timestamp in self.points.items() if timestamp <= upto]:
            del self.points[key]
            self._digest.touch(key)
        self.ranges = {each: t for each, t in self.ranges.items() if t > upto}

    # -- splitting and merging ---------------------------------------------------------------------

    def cut(self, at: str) -> TimestampCache:
        """Move what is about the keys from ``at`` on to another cache, which is returned."""
        right = type(self)()
        right.floor = self.floor
        for key in [key for key in self.points if key >= at]:
            right.points[key] = self.points.pop(key)
            self._digest.touch(key)
        right.ranges = dict(self.ranges)  # those of the other side match no key
        return right

    def join(self, right: TimestampCache) -> None:
        """Take in the cache of the keys above."""
        floor = max(self.floor, right.floor)
        self.points.update(right.points)
        for each in right.points:
            self._digest.touch(each)
        for bounds, timestamp in right.ranges.items():
            self.ranges[bounds] = max(timestamp, self.ranges.get(bounds, 0))
        self.forget(floor, raises_floor=True)
        if len(self.points) > POINTS_MAX:
            self.forget(sorted(self.points.values())[POINTS_MAX // 2], raises_floor=True)
        if len(self.ranges) > RANGES_MAX:
            self.forget(sorted(self.ranges.values())[RANGES_MAX // 2], raises_floor=True)

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """Everything, JSON-like and in an order of its own."""
        ranges = [[low, high, t] for (low, high), t in self.ranges.items()]
        return [self.floor, dict(self.points), ranges]

    def restore(self, state: Any) -> None:
        """Replace everything by what :meth:`encode` gave, decoded afresh."""
        self.floor, points, ranges = state
        self.points = dict(points)
        self.ranges = {(low, high): timestamp for low, high, timestamp in ranges}
        self._digest = DigestSum()

    def digest(self) -> int:
        """Hash of the cache, equal for equal caches."""
        return self._digest.value(self.points.get, self.points)

    def rest(self) -> Any:
        """What :meth:`digest` does not cover: few numbers."""
        ranges = sorted(
            [low, high is None, high or "", t] for (low, high), t in self.ranges.items()
        )
        return [self.floor, ranges]


def check_cache(state: Any) -> str:
    """Why something is not what :meth:`TimestampCache.encode` gives; "" if it is."""
    try:
        floor, points, ranges = state
        good = type(floor) is int and type(points) is dict
        good = good and all(type(k) is str and type(t) is int for k, t in points.items())
        for low, high, timestamp in ranges:
            good = good and type(low) is str and (high is None or type(high) is str)
            good = good and type(timestamp) is int
    except (TypeError, ValueError):
        good = False
    return "" if good else "the data is not that of an exported partition"
