"""Ownership: what a group's own log says about the partitions it has, and at which epoch.

Problem. Which group has a partition is decided in the core, and told by a map that every node keeps
a copy of. A copy may be old. A node that is cut off from the core goes on with it, and a group that
believed the node would act for a partition that another group has by now.

Solution. The group's own log is the authority about itself. Taking a partition, freezing it and
dropping it are commands of that log, so the group's replicas know alike what they have. Each
request names the epoch of the map it was addressed by. The group refuses another epoch
(``stale-epoch``), and a partition that is frozen because it moves away (``frozen``). The refusal
is what makes an old map harmless: at most one group acts for a partition at an epoch, and once the
old group has frozen an epoch, nothing more is done at it.

A group remembers the highest epoch at which it has given a partition up. A command of a controller
that was deposed, or a copy that comes late, then changes nothing: the partition is not taken again
at an epoch that is over.

Invariants. The epoch of a partition in a group only grows. A partition that was given up at an
epoch is never held again at that epoch or a lower one. What is frozen stays frozen at that epoch.

What breaks without it. A37: with a stale epoch accepted, requests meant for other bounds are served
by what is left. A48: a group that goes on serving what has moved away, as its clients' old maps say
it should, accepts writes that the new group never sees.

Source: Joshi, "Fixed Partitions", "Key-Range Partitions" and "Consistent Core"; the epochs of
TiKV's regions. Part of the replicated state of a data group; pure and deterministic.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.data.key_range_partitions import (
    KeyRange,
    merge_problem,
    merged_range,
    split_problem,
    split_range,
)

#: The first word of a refusal.
STALE_EPOCH, FROZEN = "stale-epoch", "frozen"
#: Schemes of partitions.
SLOTS, RANGES = "slots", "ranges"


class Held(msgspec.Struct, frozen=True):
    """A partition that a group has.

    Args:
        epoch: at which it has it.
        scheme: ``slots`` or ``ranges``.
        low, high: the first slot or key, and the first one above; None for no end.
        frozen: whether it moves away and takes nothing new.
    """

    epoch: int
    scheme: str
    low: Any
    high: Any
    frozen: bool = False


class Ownership:
    """The partitions of one group."""

    __slots__ = ("given_up", "held")

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        #: partition -> the highest epoch at which it was given up
        self.given_up: dict[str, int] = {}

    # -- what a request may do ---------------------------------------------------------------------

    def refusal(self, partition: str, epoch: int) -> str:
        """Why the group does not act for a partition at an epoch; "" if it does."""
        held = self.held.get(partition)
        if held is None or not self.epoch_is_current(held.epoch, epoch):
            return self._stale(partition, epoch)
        if not self.still_acts(held):
            return f"{FROZEN}: {partition} moves to another group"
        return ""

    def epoch_is_current(self, held: int, asked: int) -> bool:
        """Decision: whether a request's epoch is the one at which the group has the partition."""
        return held == asked

    def still_acts(self, held: Held) -> bool:
        """Decision: whether the group acts for a partition it has: not once it is frozen."""
        return not held.frozen

    def is_over(self, epoch: int, given_up: int) -> bool:
        """Decision: whether a partition that is offered at an epoch was given up since."""
        return epoch <= given_up

    def outside(self, partition: str, key: str) -> str:
        """Why a key is not of a partition that the group has; "" if it is, or if slots say so."""
        held = self.held[partition]
        if held.scheme == RANGES and not _range(partition, held).holds(key):
            return f"{STALE_EPOCH}: {partition} holds no key {key!r} at epoch {held.epoch}"
        return ""

    def would_take(self, partition: str, epoch: int) -> bool:
        """Whether a partition that is offered at an epoch is new here."""
        held = self.held.get(partition)
        over = self.is_over(epoch, self.given_up.get(partition, 0))
        return not over and (held is None or held.epoch < epoch)

    # -- commands of the log; each may come again --------------------------------------------------

    def take(self, partition: str, epoch: int, scheme: str, low: Any, high: Any) -> bool:
        """Take a partition; whether it is new: its data is to be put in place of what was there."""
        if not self.would_take(partition, epoch):
            return False
        self.held[partition] = Held(epoch, scheme, low, high)
        return True

    def freeze(self, partition: str, epoch: int) -> str:
        """Take nothing new at an epoch; why not, or ""."""
        held = self.held.get(partition)
        if held is None or held.epoch != epoch:
            return self._stale(partition, epoch)
        self.held[partition] = msgspec.structs.replace(held, frozen=True)
        return ""

    def export_refusal(self, partition: str, epoch: int) -> str:
        """Why what is in a partition cannot be given away now; "" if it can."""
        held = self.held.get(partition)
        if held is None or held.epoch != epoch:
            return self._stale(partition, epoch)
        return "" if held.frozen else f"{partition} is not frozen at epoch {epoch}"

    def drop(self, partition: str, epoch: int) -> bool:
        """Give a partition up at an epoch and all below; whether its data is to be removed."""
        self.given_up[partition] = max(epoch, self.given_up.get(partition, 0))
        held = self.held.get(partition)
        if held is None or held.epoch > epoch:
            return False
        del self.held[partition]
        return True

    def split(self, partition: str, epoch: int, at: str, right: str) -> tuple[bool, str]:
        """Cut a range in two; whether anything was done, and why not."""
        held = self.held.get(partition)
        if held is not None and held.epoch == epoch + 1 and held.high == at:
            return False, ""  # done before
        if held is None or held.epoch != epoch or held.frozen:
            return False, self._stale(partition, epoch)
        wrong = _not_ranges(partition, held) or split_problem(_range(partition, held), at)
        if wrong or not self._is_free(right):
            return False, wrong or f"{right} was a partition of this group before"
        for part in split_range(_range(partition, held), at, right):
            self._hold_range(part)
        return True, ""

    def merge(self, left: str, left_epoch: int, right: str, right_epoch: int) -> tuple[bool, str]:
        """Join two neighbours under the left one's name; whether anything was done, and why not."""
        first, second = self.held.get(left), self.held.get(right)
        epoch = max(left_epoch, right_epoch) + 1
        if first is not None and first.epoch == epoch and second is None:
            return False, ""  # done before
        for name, held, asked in ((left, first, left_epoch), (right, second, right_epoch)):
            if held is None or held.epoch != asked or held.frozen:
                return False, self._stale(name, asked)
        assert first is not None and second is not None
        one, other = _range(left, first), _range(right, second)
        wrong = _not_ranges(left, first) or merge_problem(one, other)
        if wrong:
            return False, wrong
        self.drop(right, right_epoch)
        self._hold_range(merged_range(one, other))
        return True, ""

    def _is_free(self, partition: str) -> bool:
        return partition not in self.held and partition not in self.given_up

    def _hold_range(self, part: KeyRange) -> None:
        before = self.held.get(part.partition)
        assert before is None or before.epoch < part.epoch, f"{part} is not newer than {before}"
        self.held[part.partition] = Held(part.epoch, RANGES, part.low, part.high)

    def _stale(self, partition: str, epoch: int) -> str:
        held = self.held.get(partition)
        if held is None:
            return f"{STALE_EPOCH}: {partition} is not of this group at epoch {epoch}"
        frozen = " and frozen" if held.frozen else ""
        return f"{STALE_EPOCH}: {partition} is at epoch {held.epoch}{frozen}, not {epoch}"

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """The whole table, for a snapshot."""
        held = [(name, *msgspec.structs.astuple(each)) for name, each in self.held.items()]
        return [held, dict(self.given_up)]

    def restore(self, state: Any) -> None:
        """Replace the table by one that :meth:`encode` gave, decoded afresh."""
        held, given_up = state
        self.held = {name: Held(*rest) for name, *rest in held}
        self.given_up = dict(given_up)
        for name, each in self.held.items():
            assert each.epoch > self.given_up.get(name, 0), f"{name} was given up at {each.epoch}"


def is_refused(error: str, partition: str, epoch: int) -> bool:
    """Whether a refusal as :data:`STALE_EPOCH` is of this partition at this epoch.

    A transaction may have read a partition at one epoch and write it at a later one; then only the
    former is over.

    Args:
        error: what the group said; the epoch that it refuses comes last.
        partition, epoch: as they were asked for.
    """
    return error.startswith(f"{STALE_EPOCH}: {partition} ") and error.endswith(f" {epoch}")


def _range(partition: str, held: Held) -> KeyRange:
    return KeyRange(partition, held.low, held.high, held.epoch)


def _not_ranges(partition: str, held: Held) -> str:
    return "" if held.scheme == RANGES else f"{partition} is a fixed partition: it stays whole"
