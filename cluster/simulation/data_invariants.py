"""White-box invariants of role ``data``: partitions, timestamps and clocks, after every event.

- ``one-owner-per-epoch``: a partition at an epoch is of one group, for ever;
- ``one-acting-owner``: no two partitions that groups act for have a key in common;
- ``tiled``: once every key has been some group's, every key always is (frozen partitions included);
- ``epoch-backwards``: the epoch of a partition in a group only grows;
- ``closed-backwards``: a group's closed timestamp, and its horizon of transactions, never go back;
- ``clock-within-offset``: a node's hybrid clock never goes further ahead of its physical clock than
  the maximum offset.

A group is checked by the furthest of its replicas: replicas are equal at equal positions, which is
an invariant of its log (:mod:`cluster.simulation.group_invariants`), and one that lags tells
nothing new. What a group says of itself is compared with what the others say: a partition is
adopted only after its old group has frozen it, whichever replica is looked at.

The cost is O(1) for an event that applied nothing, and that of the partitions where their owners
changed. That intents end is a matter of time, and asked by :mod:`cluster.simulation.liveness`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from cluster.data.ownership import RANGES, Held
from cluster.data.partition_machine import PartitionMachine
from cluster.simulation.variant_invariants import Fail


class _Furthest:
    """What the furthest replica of a group has shown."""

    __slots__ = ("closed", "given_up", "held", "horizon", "position")

    def __init__(self) -> None:
        self.position = -1
        self.closed = self.horizon = 0
        self.held: dict[str, Held] = {}
        self.given_up: dict[str, int] = {}


class Piece(NamedTuple):
    """Keys, or slots, that a group has."""

    low: Any
    high: Any
    partition: str
    group: str


class DataInvariants:
    """The watch over the data of all nodes.

    Args:
        fail: called with (name, sentence, nodes) for a violation; must raise or record.
    """

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._groups: dict[str, _Furthest] = {}
        self._owners: dict[tuple[str, int], str] = {}
        self._covered = self._ranges = False
        self._slots: set[int] = set()
        #: node -> its hybrid clock, and the highest timestamp it knew
        self._clocks: dict[str, tuple[Any, int]] = {}

    def after(self, node: str, group: str, machine: Any) -> None:
        """An event on ``node`` touched a group, whose state machine this is."""
        if type(machine) is not PartitionMachine:
            return
        furthest = self._groups.setdefault(group, _Furthest())
        if machine.position <= furthest.position:
            return
        furthest.position = machine.position
        self._look_at_time(node, group, machine, furthest)
        ownership = machine.store.ownership
        if ownership.held != furthest.held or ownership.given_up != furthest.given_up:
            self._look_at_epochs(node, group, ownership, furthest)
            furthest.held, furthest.given_up = dict(ownership.held), dict(ownership.given_up)
            self._look_at_owners(node)

    def clock(self, node: str, hybrid: Any, wall_ns: int) -> None:
        """An event on ``node`` is done, at this time of its physical clock."""
        known, last = self._clocks.get(node, (None, 0))
        if known is hybrid and hybrid.last > last:
            ahead_ns = hybrid.last - wall_ns
            if ahead_ns > hybrid.max_offset_ns:
                self._fail(
                    "clock-within-offset",
                    f"the hybrid clock of {node} went {ahead_ns} ns ahead of its physical clock; "
                    f"at most {hybrid.max_offset_ns} ns are allowed",
                    (node,),
                )
        if known is not hybrid or hybrid.last != last:
            self._clocks[node] = (hybrid, hybrid.last)

    # -- one group ---------------------------------------------------------------------------------

    def _look_at_time(
        self, node: str, group: str, machine: PartitionMachine, furthest: _Furthest
    ) -> None:
        closed, horizon = machine.store.closed, machine.records.horizon
        for what, before, now in (
            ("closed timestamp", furthest.closed, closed),
            ("horizon", furthest.horizon, horizon),
        ):
            if now < before:
                said = f"the {what} of group {group} went from {before} back to {now}"
                self._fail("closed-backwards", said, (node,))
        furthest.closed, furthest.horizon = closed, horizon

    def _look_at_epochs(self, node: str, group: str, ownership: Any, furthest: _Furthest) -> None:
        for name, held in ownership.held.items():
            before = furthest.held.get(name)
            least = max(before.epoch if before else 0, furthest.given_up.get(name, 0) + 1)
            if held.epoch < least:
                said = f"group {group} has {name} at epoch {held.epoch}, after epoch {least}"
                self._fail("epoch-backwards", said, (node,))
            owner = self._owners.setdefault((name, held.epoch), group)
            if owner != group:
                said = f"{name} at epoch {held.epoch} is of group {group}, and was of {owner}"
                self._fail("one-owner-per-epoch", said, (node,))

    # -- all of them -------------------------------------------------------------------------------

    def _look_at_owners(self, node: str) -> None:
        held = [
            (each, Piece(each.low, each.high, name, group))
            for group, furthest in self._groups.items()
            for name, each in furthest.held.items()
        ]
        acting = sorted(
            (piece for each, piece in held if not each.frozen), key=lambda piece: piece.low
        )
        for one, other in pairwise(acting):
            if one.high is None or other.low < one.high:
                said = (
                    f"group {one.group} acts for {one.partition} and group {other.group} for "
                    f"{other.partition}, and both have {other.low!r}"
                )
                self._fail("one-acting-owner", said, (node,))
        pieces = [piece for _, piece in held]
        if held:
            self._ranges = held[0][0].scheme == RANGES
        if self._ranges:
            gap = _gap(pieces)
            if self._covered and gap is not None:
                self._fail("tiled", f"no group has the keys from {gap!r}", (node,))
            self._covered = self._covered or gap is None
        else:
            self._look_at_slots(node, pieces)

    def _look_at_slots(self, node: str, pieces: list[Piece]) -> None:
        found = {slot for piece in pieces for slot in range(piece.low, piece.high)}
        gone = sorted(self._slots - found)
        if gone:
            self._fail("tiled", f"no group has the slot {gone[0]}", (node,))
        self._slots |= found


def _gap(pieces: list[Piece]) -> str | None:
    """The first key that no range has; None if each key has one."""
    reached = ""
    for piece in sorted(pieces, key=lambda piece: piece.low):
        if piece.low > reached:
            return reached
        if piece.high is None:
            return None
        reached = max(reached, piece.high)
    return reached
