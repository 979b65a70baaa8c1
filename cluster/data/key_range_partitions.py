"""Key-Range Partitions: each partition holds the keys between two bounds, and can be divided.

Problem. A hash spreads keys evenly and tears neighbours apart: a scan of a range must ask every
partition, and a partition that has grown too large cannot be cut in two.

Solution. The key space is cut at split points. A partition holds the keys from ``low``, included,
to ``high``, excluded; None for no end. Keys are compared as text, code point by code point. The
partition of a key is found by bisection of the lower bounds. A split cuts one range in two, a merge
joins two neighbours. Each raises the epochs of all parts above those of what was there. A request
names a partition and its epoch, so one that was addressed with the old bounds in mind is refused
(:mod:`cluster.data.ownership`) and not answered with half of what it wants.

The left part of a split keeps the name of the whole, and so does a merger keep its left part's.

Invariants. The ranges tile the key space: the first begins with "", each begins where the one
before it ends, the last has no end. So each key is in one range, and a scan sees every key once. An
epoch only grows, and no pair of partition and epoch ever stands for two different ranges.

What breaks without it. A37: with a stale epoch accepted, a scan that was sent to the whole range is
answered with the left half, and the keys of the right half are missed. A37b: a scan that does not
go on in the next range misses the keys there.

Source: Joshi, "Key-Range Partitions"; the regions of TiKV (``EpochNotMatch``), the ranges of
CockroachDB. Used by ``cluster.data.placement`` and ``cluster.data.ownership``; pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import msgspec


class KeyRange(msgspec.Struct, frozen=True):
    """One partition's share of the key space.

    Args:
        partition: the partition's id.
        low: the first key that may be in it.
        high: the first key above it; None if there is none.
        epoch: of the partition with these bounds.
    """

    partition: str
    low: str
    high: str | None
    epoch: int = 1

    def holds(self, key: str) -> bool:
        """Whether a key is in it."""
        return self.low <= key and (self.high is None or key < self.high)

    def clipped(self, low: str, high: str | None) -> tuple[str, str | None] | None:
        """What it shares with the keys from ``low`` to ``high``; None if that is nothing."""
        first = max(self.low, low)
        ends = [end for end in (self.high, high) if end is not None]
        last = min(ends) if ends else None
        return (first, last) if last is None or first < last else None


class KeyRangePartitions:
    """All ranges at one moment.

    Args:
        ranges: in any order; they must tile the key space.

    Raises:
        ValueError: they do not; the message names the place.
    """

    __slots__ = ("_lows", "_ranges")

    def __init__(self, ranges: Iterable[KeyRange]) -> None:
        self._ranges = tuple(sorted(ranges, key=lambda each: each.low))
        self._lows = [each.low for each in self._ranges]
        wrong = untiled(self._ranges)
        if wrong:
            raise ValueError(wrong)

    def __iter__(self) -> Iterator[KeyRange]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def find(self, key: str) -> KeyRange:
        """The range a key is in."""
        found = self._ranges[bisect_right(self._lows, key) - 1]
        assert found.holds(key), f"{found} does not hold {key!r}"
        return found

    def named(self, partition: str) -> KeyRange:
        """The range of a partition.

        Raises:
            ValueError: there is no such partition.
        """
        for each in self._ranges:
            if each.partition == partition:
                return each
        raise ValueError(f"there is no partition {partition!r}")

    def within(self, low: str, high: str | None) -> list[tuple[KeyRange, str, str | None]]:
        """The ranges that share keys with those from ``low`` to ``high``, and what they share."""
        first = bisect_right(self._lows, low) - 1
        found: list[tuple[KeyRange, str, str | None]] = []
        for each in self._ranges[first:]:
            if high is not None and each.low >= high:
                break
            part = each.clipped(low, high)
            if part is not None:
                found.append((each, *part))
        return found

    def split(self, partition: str, at: str, right: str) -> KeyRangePartitions:
        """The ranges after one is cut in two.

        Args:
            partition: what is cut; the left part keeps its name.
            at: the first key of the right part.
            right: the name of the right part, never used before.

        Raises:
            ValueError: there is no such partition, the name is in use, or a part would be empty.
        """
        whole = self.named(partition)
        wrong = split_problem(whole, at)
        if wrong or any(each.partition == right for each in self._ranges):
            raise ValueError(wrong or f"there is a partition {right!r} already")
        return self._replaced((whole,), split_range(whole, at, right))

    def merge(self, left: str, right: str) -> KeyRangePartitions:
        """The ranges after two neighbours are joined under the left one's name.

        Raises:
            ValueError: they are no neighbours, in this order.
        """
        first, second = self.named(left), self.named(right)
        wrong = merge_problem(first, second)
        if wrong:
            raise ValueError(wrong)
        return self._replaced((first, second), (merged_range(first, second),))

    def _replaced(
        self, gone: tuple[KeyRange, ...], come: tuple[KeyRange, ...]
    ) -> KeyRangePartitions:
        epoch = max(each.epoch for each in gone)
        assert all(each.epoch > epoch for each in come), f"{come} have no newer epoch than {gone}"
        return type(self)([*(each for each in self._ranges if each not in gone), *come])


def split_range(whole: KeyRange, at: str, right: str) -> tuple[KeyRange, KeyRange]:
    """The two parts of a range that is cut at a key, at the next epoch."""
    epoch = whole.epoch + 1
    return (
        KeyRange(whole.partition, whole.low, at, epoch),
        KeyRange(right, at, whole.high, epoch),
    )


def merged_range(left: KeyRange, right: KeyRange) -> KeyRange:
    """Two neighbours as one, at an epoch above both."""
    return KeyRange(left.partition, left.low, right.high, max(left.epoch, right.epoch) + 1)


def split_problem(whole: KeyRange, at: str) -> str:
    """Why a range cannot be cut at a key; "" if it can."""
    if at == whole.low or not whole.holds(at):
        end = "without end" if whole.high is None else f"to {whole.high!r}"
        return f"{whole.partition} holds keys from {whole.low!r} {end}: it is not cut at {at!r}"
    return ""


def merge_problem(left: KeyRange, right: KeyRange) -> str:
    """Why two ranges cannot be joined; "" if they can."""
    if left.high is None or left.high != right.low:
        return (
            f"{left.partition} ends at {left.high!r} and {right.partition} begins at "
            f"{right.low!r}: they are no neighbours in this order"
        )
    return ""


def untiled(ranges: Iterable[KeyRange]) -> str:
    """Where ranges in the order of their lower bounds do not tile the key space; "" if they do."""
    expected: str | None = ""
    names: set[str] = set()
    for each in ranges:
        if expected is None or each.low != expected:
            return f"{each.partition} begins at {each.low!r}, and {expected!r} was expected"
        if each.high is not None and each.high <= each.low:
            return f"{each.partition} ends at {each.high!r}, not above {each.low!r}"
        if each.partition in names:
            return f"{each.partition} has two ranges"
        names.add(each.partition)
        expected = each.high
    return "" if names and expected is None else f"no range begins at {expected!r}"
