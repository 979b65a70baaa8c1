"""Size policy: which ranges have grown too large or too busy, and which neighbours are too small.

Problem. Without divisions a range grows until one group holds most of the data, or serves most of
the requests. Without joins, small ranges stay behind.

Solution. The controller asks the owner of each range now and then how many keys it holds, how many
writes it has taken since it came to the group, and which key is in the middle. A range with too
many keys, or too many writes a second, is to be split at its middle. Two neighbours that hold few
keys together, and are not busy, are to be merged. The limits lie far apart, so that the parts of a
split are not joined again.

    p-stat PARTITION epoch    {"keys", "writes", "middle"}: a read of the group; ``middle`` is the
                              first key of the upper half, or None

Invariants. A wish rests on an answer about the partition's present bounds, and a rate on two
answers at one epoch.

Source: the split and merge limits of range stores, by size and by load. Used by
``cluster.data.controller``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.config import MS
from cluster.data.group_client import Ask
from cluster.data.ownership import RANGES
from cluster.data.partition_record import OWNED, Partition
from cluster.data.placement import Placement
from cluster.data.placement_plan import MERGE, SPLIT, Wish
from cluster.data.questions import Questions
from cluster.wire import Command

STAT = "p-stat"
SECOND_NS = 1_000 * MS


class SizeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When ranges are split and merged.

    Args:
        split_keys: a range with more keys is split.
        split_writes: a range with more writes a second is split.
        merge_keys: neighbours with fewer keys together are merged; 0 to merge none.
        poll_ns: how often each owner is asked, in nanoseconds.

    Raises:
        ValueError: what was split would be merged again.
    """

    split_keys: int = 100_000
    split_writes: int = 5_000
    merge_keys: int = 10_000
    poll_ns: int = 5_000 * MS

    def __post_init__(self) -> None:
        if self.split_keys < 2 or self.split_writes < 1 or self.poll_ns < MS:
            raise ValueError(f"the limits {self} are too small to be meant")
        if 2 * self.merge_keys > self.split_keys:
            raise ValueError(
                f"merge_keys is {self.merge_keys}; it should be at most half of split_keys, "
                f"{self.split_keys}, or the parts of a split are merged again"
            )


class _Size(msgspec.Struct):
    """What an owner answered.

    Args:
        bounds: of the partition then.
        epoch: of the partition then.
        keys, writes, middle: as answered.
        asked_ns: when.
        rate: writes a second since the answer before; 0 after the first.
    """

    bounds: tuple[Any, Any]
    epoch: int
    keys: int
    writes: int
    middle: str | None
    asked_ns: int
    rate: int = 0


class SizePolicy:
    """Sizes of ranges, as their owners told the controller.

    Args:
        placement: the map.
        ask: sends a command to a group.
        limits: when to split and to merge; None for never.
    """

    def __init__(self, placement: Placement, ask: Ask, limits: SizeLimits | None) -> None:
        self._placement = placement
        self._questions = Questions(ask)
        self._limits = limits
        self._sizes: dict[str, _Size] = {}
        self._poll_ns = 0

    def forget(self) -> None:
        """This node is not the controller any more."""
        self._sizes.clear()
        self._questions.forget()

    def tick(self, now_ns: int) -> None:
        """Ask every owner, if it is time to."""
        layout = self._placement.layout
        if self._limits is None or now_ns < self._poll_ns:
            return
        self._poll_ns = now_ns + self._limits.poll_ns
        if layout is None or layout.scheme != RANGES or len(self._questions):
            return
        for partition in self._placement.partitions.values():
            if partition.state == OWNED:
                self._ask_size(now_ns, partition)

    def on_answer(self, now_ns: int, token: int, status: str, value: Any, error: str) -> bool:
        """Take an answer; whether it was to a question of this part."""
        return self._questions.on_answer(now_ns, token, status, value, error)

    def _ask_size(self, now_ns: int, partition: Partition) -> None:
        def told(later_ns: int, status: str, value: Any, error: str) -> None:
            if status != "ok":
                return
            counts = value["keys"], value["writes"], value["middle"]
            bounds = partition.low, partition.high
            size = _Size(bounds, partition.epoch, *counts, asked_ns=now_ns)
            before = self._sizes.get(partition.id)
            if before is not None and before.epoch == size.epoch and now_ns > before.asked_ns:
                written = size.writes - before.writes
                size.rate = written * SECOND_NS // (now_ns - before.asked_ns)
            self._sizes[partition.id] = size

        command = Command(STAT, partition.id, (partition.epoch,))
        self._questions.ask(now_ns, partition.group, command, told)

    # -- wishes ------------------------------------------------------------------------------------

    def wishes(self) -> list[Wish]:
        """What is wanted now, in the order of keys; each partition is in one wish at most."""
        if self._limits is None:
            return []
        ranges = sorted(
            (each for each in self._placement.partitions.values() if each.scheme == RANGES),
            key=lambda each: each.low,
        )
        found: list[Wish] = []
        used: set[str] = set()
        for left, right in zip(ranges, [*ranges[1:], None]):
            wish = self._split(left)
            if wish is None and right is not None and not used & {left.id, right.id}:
                wish = self._merge(left, right)
                if wish is not None:
                    used |= {left.id, right.id}
            if wish is not None:
                found.append(wish)
        return found

    def _size(self, partition: Partition) -> _Size | None:
        size = self._sizes.get(partition.id)
        bounds = partition.low, partition.high
        return size if size is not None and size.bounds == bounds else None

    def _is_busy(self, size: _Size) -> bool:
        assert self._limits is not None
        return size.keys > self._limits.split_keys or size.rate > self._limits.split_writes

    def _split(self, partition: Partition) -> Wish | None:
        size = self._size(partition)
        if size is None or not self._is_busy(size) or size.middle in (None, partition.low):
            return None
        assert size.middle is not None
        return Wish(op=SPLIT, key=size.middle)

    def _merge(self, left: Partition, right: Partition) -> Wish | None:
        assert self._limits is not None
        sizes = self._size(left), self._size(right)
        if sizes[0] is None or sizes[1] is None or any(self._is_busy(s) for s in sizes if s):
            return None
        small = sizes[0].keys + sizes[1].keys < self._limits.merge_keys
        return Wish(op=MERGE, key=right.low) if small else None
