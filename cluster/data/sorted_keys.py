"""Keys in order, for a store that adds many and asks for their order now and then.

A new key put in its place moves all behind it, which with many keys costs more than the change that
made it. So new keys only gather, and find their places when the order is asked for: each by itself
if they are few, or else in one merge: what costs less, about.

Used by ``cluster.data.versioned_value`` and ``cluster.data.timestamped_values``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

#: New keys are merged if the others are at most so many times as many. With a million keys a merge
#: takes as long as some three hundred of them one by one.
_MERGE_FACTOR = 4096


class SortedKeys:
    """A set of strings that can be read in order.

    Args:
        keys: the first ones, in any order, each once.
    """

    __slots__ = ("_fresh", "_sorted")

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._sorted = sorted(keys)
        #: those added since the order was asked for
        self._fresh: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return iter(self._ordered())

    def add(self, key: str) -> None:
        """Add a key that is not there."""
        self._fresh.append(key)

    def remove(self, key: str) -> None:
        """Remove a key that is there."""
        ordered = self._ordered()
        place = bisect_left(ordered, key)
        assert place < len(ordered) and ordered[place] == key, f"{key!r} is not there"
        del ordered[place]

    def between(self, start: str, end: str | None) -> list[str]:
        """The keys from ``start`` up to but without ``end``, in order; None for no end."""
        ordered = self._ordered()
        first = bisect_left(ordered, start)
        return ordered[first : None if end is None else bisect_left(ordered, end)]

    def middle(self) -> str | None:
        """The first key of the upper half; None if there are no two."""
        ordered = self._ordered()
        return ordered[len(ordered) // 2] if len(ordered) > 1 else None

    def cut(self, at: str) -> SortedKeys:
        """Take the keys from ``at`` on away; they are returned."""
        ordered, right = self._ordered(), SortedKeys()
        place = bisect_left(ordered, at)
        right._sorted = ordered[place:]
        del ordered[place:]
        return right

    def join(self, right: SortedKeys) -> None:
        """Take all of another set, which are above those here."""
        ordered, above = self._ordered(), right._ordered()
        assert not (ordered and above) or ordered[-1] < above[0], (
            f"{above[:1]} is not above {ordered[-1:]}"
        )
        ordered += above

    def _ordered(self) -> list[str]:
        ordered, fresh = self._sorted, self._fresh
        if not fresh:
            return ordered
        if len(ordered) > _MERGE_FACTOR * len(fresh):
            for key in fresh:
                insort(ordered, key)
        else:
            fresh.sort()
            ordered += fresh
            ordered.sort()  # two runs, which are merged
        fresh.clear()
        return ordered
