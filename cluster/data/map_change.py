"""Map change: what a controller writes to the map, and the guards it writes it under.

Each change is one transaction of the core. It is carried out only if the controller's token is
still that of the key ``controller``, and only if every record it replaces is as it was known.
So a deposed controller changes nothing, a change that is asked for twice is done once, and records
that belong together (the two parts of a split) change at one revision.

Used by ``cluster.data.placement_plan``, which says what to change, and the controller; pure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.data.partition_record import (
    CONTROLLER,
    GROUPS,
    LAYOUT,
    REQUESTS,
    Layout,
    Partition,
    encoded,
)
from cluster.data.placement import Placement
from cluster.wire import Command


class Outcome(msgspec.Struct, frozen=True):
    """What became of an operator's request.

    Args:
        request: its id.
        status: ``ok`` or ``fail``.
        error: why, for ``fail``.
    """

    request: str
    status: str
    error: str = ""


class MapChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the map.

    Args:
        put: records that replace the known ones of the same partitions.
        create: records of partitions that are not there yet.
        remove: records that vanish.
        layout: the layout, new or changed.
        groups: new groups and their members.
        outcome: what a request is told at the same time.
    """

    put: tuple[Partition, ...] = ()
    create: tuple[Partition, ...] = ()
    remove: tuple[Partition, ...] = ()
    layout: Layout | None = None
    groups: dict[str, tuple[str, ...]] = {}
    outcome: Outcome | None = None

    @property
    def concerns(self) -> frozenset[str]:
        """Ids of the partitions it is about."""
        return frozenset(each.id for each in (*self.put, *self.create, *self.remove))


def guarded(change: MapChange, placement: Placement, token: int) -> Command:
    """The transaction of the core that makes a change, and only if all is as it is known.

    Args:
        change: what to write.
        placement: the map that it was decided by.
        token: the controller's.

    Returns:
        The command. Its answer has ``succeeded``; the last result is the ``stat`` of the key
        ``controller`` either way.
    """
    assert token > 0, "only a controller changes the map"
    compares: list[list[Any]] = [[CONTROLLER, "created", "==", token]]
    then: list[list[Any]] = []
    for each in change.put:
        compares.append(_unchanged(placement, each.key()))
        then.append(["put", each.key(), encoded(each)])
    for each in change.create:
        compares.append([each.key(), "version", "==", 0])
        then.append(["put", each.key(), encoded(each)])
    for each in change.remove:
        compares.append(_unchanged(placement, each.key()))
        then.append(["delete", each.key()])
    if change.layout is not None:
        compares.append(_unchanged(placement, LAYOUT))
        then.append(["put", LAYOUT, msgspec.to_builtins(change.layout)])
    for name, members in sorted(change.groups.items()):
        compares.append([GROUPS + name, "version", "==", 0])
        then.append(["put", GROUPS + name, {"members": list(members)}])
    if change.outcome is not None and change.outcome.request in placement.requests:
        _tell(change.outcome, placement, compares, then)
    stat = ["stat", CONTROLLER]
    return Command("txn", "", (compares, [*then, stat], [stat]))


def _unchanged(placement: Placement, key: str) -> list[Any]:
    """That a key is as the map has it; absent, if the map has it not."""
    modified = placement.modified.get(key)
    return [key, "version", "==", 0] if modified is None else [key, "modified", "==", modified]


def _tell(
    outcome: Outcome, placement: Placement, compares: list[list[Any]], then: list[list[Any]]
) -> None:
    """Write a request's outcome beside it; the request goes on to end with its node's lease."""
    key, asked = REQUESTS + outcome.request, placement.requests[outcome.request].value
    compares.append(_unchanged(placement, key))
    told = {**asked, "outcome": outcome.status, "error": outcome.error}
    then.append(["put", key, told, asked["lease"]])
