"""Partition record: what the core says about one partition, and how its keys are written there.

    layout             {"scheme", "slots", "next"}: how keys are divided; written once all
                       partitions are there; "next" numbers the partitions that splits make
    partitions/<id>    {"scheme", "low", "high", "group", "epoch", "state", "other", "at",
                       "request", "pinned"}
    groups/<name>      {"members"}: of every data group; they never change
    nodes/<id>         {"lease"}: attached to the node's lease, so that it ends with the node
    controller         {"node", "lease"}: attached to the same lease; the token is the revision at
                       which it was created
    requests/<id>      {"op", "key", "to", "outcome", "error", "lease"}: what an operator wants;
                       attached to the lease of the node that was asked

A partition is in one of these states. What is to be done next follows from the state alone, so a
controller that takes over needs no other memory.

    new         ``group`` shall take it for the first time
    owned       ``group`` acts for it at ``epoch``; nothing is under way
    moving      it goes from ``group`` to ``other``, which will have it at the next epoch
    leaving     ``group`` has it; ``other``, where it was, may still keep its copy of the last epoch
    splitting   it will be cut at ``at``, and ``other`` be the name of its right part
    merging     its right neighbour ``other`` will become part of it
    vanishing   it will become part of its left neighbour ``other``

Every state but ``new`` and ``owned`` is an intention in the sense of a log written ahead: it is in
the core before any group is told, and it is never taken back.

Used by the modules of ``cluster.data`` that know the map; pure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.data.ownership import RANGES, SLOTS
from cluster.data.replicated_groups import home_group

NEW, OWNED, MOVING, LEAVING = "new", "owned", "moving", "leaving"
SPLITTING, MERGING, VANISHING = "splitting", "merging", "vanishing"
STATES = frozenset({NEW, OWNED, MOVING, LEAVING, SPLITTING, MERGING, VANISHING})

LAYOUT, CONTROLLER = "layout", "controller"
PARTITIONS, GROUPS, NODES, REQUESTS = "partitions/", "groups/", "nodes/", "requests/"
#: All these keys are at or above the first and below the second.
FIRST_KEY, END_KEY = CONTROLLER, "requests0"


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition as the map has it.

    Args:
        id: its name.
        scheme: ``slots`` or ``ranges``.
        low, high: the first slot or key, and the first one above; None for no end.
        group: the group that has it.
        epoch: at which it has it.
        state: see above.
        other: the other group, or the other partition, of what is under way.
        at: where it is cut.
        request: the request that what is under way comes from; "" for none.
        pinned: whether an operator put it there, so that it is not moved for balance.
    """

    id: str
    scheme: str
    low: Any
    high: Any
    group: str
    epoch: int = 1
    state: str = NEW
    other: str = ""
    at: str = ""
    request: str = ""
    pinned: bool = False

    @property
    def home(self) -> str:
        """The group that has it once what is under way is done."""
        return self.other if self.state == MOVING else self.group

    def changed(self, **fields: Any) -> Partition:
        """This record with other fields."""
        after = msgspec.structs.replace(self, **fields)
        wrong = problem(after)
        assert not wrong, wrong
        assert after.epoch >= self.epoch, f"the epoch of {self.id} goes back to {after.epoch}"
        return after

    def key(self) -> str:
        """Its key in the core."""
        return PARTITIONS + self.id


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How keys are divided.

    Args:
        scheme: ``slots`` (Fixed Partitions) or ``ranges`` (Key-Range Partitions).
        slots: of the scheme ``slots``: how many there are, for ever.
        splits: of the scheme ``ranges``: where the key space is cut at first, in order.
        next: number of the next partition that a split makes.

    Raises:
        ValueError: the scheme is unknown, or the split points are not in order.
    """

    scheme: str = SLOTS
    slots: int = 16
    splits: tuple[str, ...] = ()
    next: int = 0

    def __post_init__(self) -> None:
        if self.scheme not in (SLOTS, RANGES):
            raise ValueError(f"the scheme {self.scheme!r} is neither {SLOTS!r} nor {RANGES!r}")
        if list(self.splits) != sorted(set(self.splits) - {""}):
            raise ValueError(f"the split points {self.splits!r} are not in order, or one is empty")

    def first_partitions(self, groups: list[str]) -> list[Partition]:
        """The partitions of a new cluster, dealt in turn to the founders' groups."""
        bounds: list[tuple[Any, Any]]
        if self.scheme == SLOTS:
            bounds = [(slot, slot + 1) for slot in range(self.slots)]
        else:
            bounds = list(zip(("", *self.splits), (*self.splits, None), strict=True))
        return [
            Partition(
                id=partition_name(number),
                scheme=self.scheme,
                low=low,
                high=high,
                group=groups[number % len(groups)],
            )
            for number, (low, high) in enumerate(bounds)
        ]


def partition_name(number: int) -> str:
    """The name of the partition of this number; names sort like numbers."""
    return f"p{number:05d}"


def problem(partition: Partition) -> str:
    """What is wrong with a record; "" if nothing is."""
    if partition.state not in STATES:
        return f"{partition.id} has the unknown state {partition.state!r}"
    if partition.epoch < 1 or not partition.group:
        return f"{partition.id} has epoch {partition.epoch} and group {partition.group!r}"
    if (partition.state in (NEW, OWNED)) != (partition.other == ""):
        return f"{partition.id} is {partition.state} with {partition.other!r}"
    if (partition.state == SPLITTING) != (partition.at != ""):
        return f"{partition.id} is {partition.state}, to be cut at {partition.at!r}"
    return ""


def encoded(partition: Partition) -> dict[str, Any]:
    """A record as it is stored in the core."""
    wrong = problem(partition)
    assert not wrong, wrong
    fields: dict[str, Any] = msgspec.to_builtins(partition)
    del fields["id"]
    return fields


def decoded(key: str, value: Any) -> Partition:
    """A record as it was stored.

    Raises:
        ValueError: the value is no record; the core holds something that this code never wrote.
    """
    try:
        partition = msgspec.convert({**value, "id": key.removeprefix(PARTITIONS)}, Partition)
    except (TypeError, msgspec.ValidationError) as error:
        raise ValueError(f"{key} in the core is no partition: {error}") from error
    wrong = problem(partition)
    if wrong:
        raise ValueError(wrong)
    return partition


def home_node(group: str) -> str:
    """The node a group is at home at."""
    node = group.removeprefix("g-")
    assert home_group(node) == group, f"{group!r} is no data group"
    return node
