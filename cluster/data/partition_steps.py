"""Partition steps: what is under way with a partition, carried on from wherever it was left.

Problem. A move takes several steps in several logs: the old group must stop, its data must come to
the new group, the map must name the new owner. The controller may die between any two, and its
successor does not know which were done.

Solution. The intention is in the map before anything else happens (write-ahead). From the record
alone follow the steps, always the same ones in the same order, and each may be done again:

    new         own(p, e) in the group                        -> owned
    moving      freeze(p, e) in the old group; export(p, e) from it and receive(p, e+1) in the new
                one, part by part; adopt(p, e+1) with the last  -> leaving, at e+1 in the new group
    leaving     drop(p, e-1) in the group where it was        -> owned
    splitting   split(p, e, at) in the group                  -> two owned partitions at e+1
    merging     merge(p, q) in the group                      -> one owned partition, above both

The arrow is a change of the map, guarded by the controller's token. A successor begins with the
first step again; a group that has done it says so. What is under way is never taken back: so two
controllers that do not know of each other do the same things, and not one against the other.

A step that a group refuses, or whose outcome is unknown, is tried again after a while, and the map
is read anew if the group says that the epoch is over. What the new group has of a partition's data
stays there (``cluster.data.partition_copy``).

Invariants. No group is told anything before the intention is committed. The map names a new owner
only after the old group is frozen and the new group has the data; the old copy is dropped only
after that. One step of a partition is under way at a time.

What breaks without it. A48 shows why the old group must refuse from the freeze on: what it accepts
after the export is in no copy.

Source: the write-ahead intentions of Kubernetes' controllers (level-triggered, idempotent);
the region moves of range stores. Used by ``cluster.data.controller``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from cluster.config import MS
from cluster.data.group_client import Ask
from cluster.data.key_range_partitions import KeyRange, merged_range, split_range
from cluster.data.map_change import MapChange, Outcome, guarded
from cluster.data.ownership import STALE_EPOCH
from cluster.data.partition_copy import ADOPT, EXPORT, PartitionCopy
from cluster.data.partition_record import (
    LEAVING,
    MERGING,
    MOVING,
    NEW,
    OWNED,
    SPLITTING,
    VANISHING,
    Partition,
)
from cluster.data.placement import Placement
from cluster.data.placement_watch import PlacementWatch
from cluster.data.questions import Questions, has_reason
from cluster.data.replicated_groups import CORE
from cluster.wire import Command

#: How long to wait before a step is tried again.
AGAIN_NS = 100 * MS
OWN, FREEZE = "p-own", "p-freeze"
DROP, SPLIT, MERGE = "p-drop", "p-split", "p-merge"
#: States in which something is to be done.
UNDER_WAY = frozenset({NEW, MOVING, LEAVING, SPLITTING, MERGING})


class Step(NamedTuple):
    """What a group is told.

    Args:
        group: whom.
        command: what; of an EXPORT or ADOPT without the part of the data that it is about.
    """

    group: str
    command: Command


class _Progress:
    """How far this controller has come with one intention."""

    __slots__ = ("again_ns", "asked", "copy", "done", "revision")

    def __init__(self, revision: int, copy: PartitionCopy) -> None:
        self.revision = revision  # of the record it is about
        self.done = 0  # steps
        self.asked = False
        self.again_ns = 0
        self.copy = copy


class PartitionSteps:
    """Carries out what is under way, for the node that is the controller.

    Args:
        watch: the node's map, kept up to date.
        ask: sends a command to a group.
        part_bytes: most bytes of a part of a partition that moves.
    """

    def __init__(self, watch: PlacementWatch, ask: Ask, *, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        self._watch = watch
        self._placement = watch.placement
        self._questions = Questions(ask)
        self._progress: dict[str, _Progress] = {}

    @property
    def busy(self) -> int:
        """How many partitions have something under way."""
        return sum(each.state in UNDER_WAY for each in self._placement.partitions.values())

    def forget(self) -> None:
        """This node is not the controller any more."""
        self._progress.clear()
        self._questions.forget()

    def work(self, now_ns: int, token: int) -> None:
        """Ask for the next step of every partition that has one and waits for no answer."""
        partitions = self._placement.partitions
        for name in [name for name in self._progress if name not in partitions]:
            del self._progress[name]
        for partition in partitions.values():
            if partition.state in UNDER_WAY:
                self._go_on(now_ns, token, partition)

    def on_answer(self, now_ns: int, token: int, status: str, value: Any, error: str) -> bool:
        """Take an answer; whether it was to a question of this part."""
        return self._questions.on_answer(now_ns, token, status, value, error)

    # -- one partition -----------------------------------------------------------------------------

    def _go_on(self, now_ns: int, token: int, partition: Partition) -> None:
        revision = self._placement.modified[partition.key()]
        progress = self._progress.get(partition.id)
        if progress is None or progress.revision != revision:
            progress = self._progress[partition.id] = _Progress(
                revision, PartitionCopy(self._part_bytes)
            )
        if progress.asked or now_ns < progress.again_ns:
            return
        progress.asked = True
        steps = steps_of(partition, self._placement)
        if progress.done < len(steps):
            self._ask_step(now_ns, progress, steps[progress.done])
        else:
            self._ask_change(now_ns, token, progress, completed(partition, self._placement))

    def _ask_step(self, now_ns: int, progress: _Progress, step: Step) -> None:
        command = progress.copy.filled(step.command)

        def told(later_ns: int, status: str, value: Any, error: str) -> None:
            progress.asked = False
            if status == "ok":
                progress.done += progress.copy.told(command, value)
            else:
                if status == "fail":
                    progress.copy.begin_anew()
                self._try_again(later_ns, progress, has_reason(error, STALE_EPOCH))

        self._questions.ask(now_ns, step.group, command, told)

    def _ask_change(self, now_ns: int, token: int, progress: _Progress, change: MapChange) -> None:
        def told(later_ns: int, status: str, value: Any, error: str) -> None:
            if status != "ok" or not value["succeeded"]:
                progress.asked = False
                self._try_again(later_ns, progress, True)
            # else: nothing more is done until the map shows the change

        self._questions.ask(now_ns, CORE, guarded(change, self._placement, token), told)

    def _try_again(self, now_ns: int, progress: _Progress, map_may_be_old: bool) -> None:
        """The first step again: what was exported may be of an epoch that is over."""
        progress.done = 0
        progress.again_ns = now_ns + AGAIN_NS
        if map_may_be_old:
            self._watch.refresh()


def steps_of(partition: Partition, placement: Placement) -> list[Step]:
    """What the groups are to be told about a partition, in order."""
    name, epoch, group = partition.id, partition.epoch, partition.group
    shape = (partition.scheme, partition.low, partition.high)
    match partition.state:
        case "new":
            return [Step(group, Command(OWN, name, (epoch, *shape)))]
        case "moving":
            return [
                Step(group, Command(FREEZE, name, (epoch,))),
                Step(group, Command(EXPORT, name, (epoch,))),
                Step(partition.other, Command(ADOPT, name, (epoch + 1, *shape))),
            ]
        case "leaving":
            return [Step(partition.other, Command(DROP, name, (epoch - 1,)))]
        case "splitting":
            return [Step(group, Command(SPLIT, name, (epoch, partition.at, name, partition.other)))]
        case state:
            assert state == MERGING, f"nothing is to be done about {partition}"
            right = placement.partitions[partition.other]
            assert right.state == VANISHING and right.group == group, f"{partition} with {right}"
            return [Step(group, Command(MERGE, name, (epoch, right.id, right.epoch, name)))]


def completed(partition: Partition, placement: Placement) -> MapChange:
    """The change of the map once the groups have done their steps."""
    idle = {"state": OWNED, "other": "", "at": "", "request": ""}
    told = Outcome(partition.request, "ok") if partition.request else None
    match partition.state:
        case "new":
            return MapChange(put=(partition.changed(**idle),))
        case "moving":
            there = partition.changed(
                state=LEAVING,
                group=partition.other,
                other=partition.group,
                epoch=partition.epoch + 1,
            )
            return MapChange(put=(there,))
        case "leaving":
            return MapChange(put=(partition.changed(**idle),), outcome=told)
        case "splitting":
            left, right = split_range(_range(partition), partition.at, partition.other)
            first = partition.changed(**idle, high=left.high, epoch=left.epoch)
            second = msgspec.structs.replace(first, id=right.partition, low=right.low,
                                             high=right.high, pinned=False)  # fmt: skip
            return MapChange(put=(first,), create=(second,), outcome=told)
        case state:
            assert state == MERGING, f"nothing is to be completed of {partition}"
            gone = placement.partitions[partition.other]
            whole = merged_range(_range(partition), _range(gone))
            after = partition.changed(**idle, high=whole.high, epoch=whole.epoch)
            return MapChange(put=(after,), remove=(gone,), outcome=told)


def _range(partition: Partition) -> KeyRange:
    return KeyRange(partition.id, partition.low, partition.high, partition.epoch)
