"""Placement plan: from the map and the living nodes to what should be changed next.

Problem. Partitions must leave nodes that died, come to nodes that joined, and be divided evenly;
and every step costs: while a partition moves it cannot be written. A controller that takes over
must not undo what the one before it began, nor may two views of one map lead to two plans.

Solution. A function of the map, of the nodes that live and of what operators want. It has no
memory. What is under way (a state other than ``owned``) counts as done and is let be. A group can
be given partitions if its home node lives and a majority of its members does; it can give
partitions away if a majority does. The even division with the fewest moves is that of
:func:`cluster.data.fixed_partitions.shares`.

Invariants. Equal maps and equal nodes give equal plans. A balanced map gives no move. A plan moves
no partition twice, and none that is busy. After the plan is carried out, the next one is empty.

Source: Joshi, "Fixed Partitions" (moving as few partitions as possible); the preferred-leader and
assignment logic of Kafka's controller, and the balancers of range stores. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from cluster.data.fixed_partitions import shares
from cluster.data.key_range_partitions import KeyRange, merge_problem, split_problem
from cluster.data.map_change import MapChange, Outcome
from cluster.data.ownership import RANGES
from cluster.data.partition_record import (
    GROUPS,
    MERGING,
    MOVING,
    OWNED,
    SPLITTING,
    VANISHING,
    Layout,
    Partition,
    home_node,
    partition_name,
)
from cluster.data.placement import Placement
from cluster.data.replicated_groups import MEMBERS, home_group, ring_members

#: Moves under way at once; the others wait, so that most of the data can be written meanwhile.
MOVES_MAX = 4
#: What can be wanted.
SPLIT, MERGE, MOVE = "partition-split", "partition-merge", "partition-move"
#: Records that one transaction creates: it has room for 128 comparisons.
CREATE_MAX = 64
#: Stands for the layout among the partitions that a plan holds.
LAYOUT_IN_USE = "layout/"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an operator, or a limit of size, wants.

    Args:
        op: SPLIT: there shall be a split point at ``key``; MERGE: there shall be none; MOVE: the
            partition ``key`` shall be in the group ``to``. Each may be wanted twice.
        key: a key, or for MOVE a partition's id.
        to: for MOVE, the group.
        request: id of the request; "" if no request is to be answered.
    """

    op: str
    key: str
    to: str = ""
    request: str = ""


def first_changes(
    layout: Layout, founding: Mapping[str, tuple[str, ...]], placement: Placement
) -> MapChange:
    """The next step towards the first map: the groups, then the partitions, then the layout.

    Args:
        layout: how keys shall be divided.
        founding: the founders' groups and their members.
        placement: what is there already, of a controller that did not come to the end.
    """
    assert placement.layout is None, "the first map is made once"
    unwritten = {
        name: members
        for name, members in founding.items()
        if GROUPS + name not in placement.modified
    }
    if unwritten:
        return MapChange(groups=dict(sorted(unwritten.items())[:CREATE_MAX]))
    wanted = layout.first_partitions(sorted(founding))
    missing = [each for each in wanted if each.id not in placement.partitions]
    if missing:
        return MapChange(create=tuple(missing[:CREATE_MAX]))
    return MapChange(layout=msgspec.structs.replace(layout, next=len(wanted)))


def plan(
    placement: Placement,
    living: Collection[str],
    wishes: Iterable[Wish] = (),
    *,
    moves_max: int = MOVES_MAX,
) -> list[MapChange]:
    """What should be changed in a map whose layout is there.

    Args:
        placement: the map.
        living: the nodes that live.
        wishes: what is wanted, the oldest first.
        moves_max: how many partitions may be under way from group to group at once.

    Returns:
        Changes that concern different partitions, so that they can be written in any order.
    """
    assert placement.layout is not None, "there is no map yet"
    changes = _missing_groups(placement, living)
    able = able_groups(placement, living)
    held: set[str] = set()
    for wish in wishes:
        change, concerned = _granted(placement, placement.layout, living, able, wish, held)
        if change is not None:
            changes.append(change)
        held |= concerned
    under_way = sum(each.state == MOVING for each in placement.partitions.values())
    under_way += sum(each.state == MOVING for change in changes for each in change.put)
    moves = _balancing(placement, living, able, held)
    return changes + moves[: max(0, moves_max - under_way)]


def able_groups(placement: Placement, living: Collection[str]) -> list[str]:
    """The groups of which a majority of members lives, in order."""
    return [
        name
        for name, members in sorted(placement.groups.items())
        if 2 * sum(member in living for member in members) > len(members)
    ]


def _missing_groups(placement: Placement, living: Collection[str]) -> list[MapChange]:
    """Groups for living nodes that are at home in none: each with the next two of the ring."""
    homes = {home_node(name) for name in placement.groups}
    if len(living) < min(MEMBERS, len(homes) + 1):
        return []  # members never change: wait until there are enough
    return [
        MapChange(groups={home_group(node): ring_members(node, [*living])})
        for node in sorted(living)
        if node not in homes
    ]


def _balancing(
    placement: Placement, living: Collection[str], able: Sequence[str], held: Collection[str]
) -> list[MapChange]:
    """The moves that give every living node's group its share."""
    targets = [name for name in able if home_node(name) in living]
    stay = {
        each.id
        for each in placement.partitions.values()
        if each.state != OWNED
        or each.id in held
        or each.group not in able
        or (each.pinned and each.group in targets)
    }
    current = {name: each.home for name, each in placement.partitions.items()}
    wanted = shares(current, targets, pinned=stay)
    return [
        MapChange(put=(_moving(placement.partitions[name], group),))
        for name, group in sorted(wanted.items())
        if group != current[name]
    ]


def _moving(partition: Partition, to: str, *, request: str = "", pinned: bool = False) -> Partition:
    assert partition.state == OWNED and partition.group != to, f"{partition} to {to}"
    return partition.changed(state=MOVING, other=to, request=request, pinned=pinned)


# -- what is wanted --------------------------------------------------------------------------------


def _granted(
    placement: Placement,
    layout: Layout,
    living: Collection[str],
    able: Sequence[str],
    wish: Wish,
    held: Collection[str],
) -> tuple[MapChange | None, set[str]]:
    """What is to be done now about a wish, and the partitions it needs to itself.

    A wish that needs a busy partition waits: it is granted by a later plan. One that is fulfilled
    already is answered so.
    """
    if wish.op == MOVE:
        return _granted_move(placement, living, able, wish, held)
    if layout.scheme != RANGES:
        return _told(wish, "fail", "fixed partitions are neither split nor merged"), set()
    partition = placement.partition_of(wish.key)
    assert partition is not None, "a layout gives every key a partition"
    if wish.op == SPLIT:
        return _granted_split(layout, partition, able, wish, held)
    return _granted_merge(placement, partition, able, wish, held)


def _granted_move(
    placement: Placement,
    living: Collection[str],
    able: Sequence[str],
    wish: Wish,
    held: Collection[str],
) -> tuple[MapChange | None, set[str]]:
    partition = placement.partitions.get(wish.key)
    if partition is None:
        return _told(wish, "fail", f"there is no partition {wish.key!r}"), set()
    if wish.request and partition.request == wish.request:
        return None, {partition.id}  # it is under way, and will be answered at its end
    if wish.to not in placement.groups:
        return _told(wish, "fail", f"there is no group {wish.to!r}"), set()
    if home_node(wish.to) not in living:
        return _told(wish, "fail", f"the home node of {wish.to} does not live"), set()
    concerned = {partition.id}
    if _is_busy(able, partition, held) or wish.to not in able:
        return None, concerned
    if partition.group == wish.to:
        return _told(wish, "ok"), concerned
    after = _moving(partition, wish.to, request=wish.request, pinned=True)
    return MapChange(put=(after,)), concerned


def _granted_split(
    layout: Layout,
    partition: Partition,
    able: Sequence[str],
    wish: Wish,
    held: Collection[str],
) -> tuple[MapChange | None, set[str]]:
    concerned = {partition.id}
    if wish.key == partition.low and partition.low != "":
        return _told(wish, "ok"), concerned
    wrong = split_problem(_range(partition), wish.key)
    if wrong:
        return _told(wish, "fail", wrong), set()
    # one split at a time, since each takes the next name from the layout
    if _is_busy(able, partition, held) or LAYOUT_IN_USE in held:
        return None, concerned
    right = partition_name(layout.next)
    after = partition.changed(state=SPLITTING, other=right, at=wish.key, request=wish.request)
    next_layout = msgspec.structs.replace(layout, next=layout.next + 1)
    return MapChange(put=(after,), layout=next_layout), {*concerned, LAYOUT_IN_USE}


def _granted_merge(
    placement: Placement,
    right: Partition,
    able: Sequence[str],
    wish: Wish,
    held: Collection[str],
) -> tuple[MapChange | None, set[str]]:
    """Bring the right part to the left one's group; once it is there, join them."""
    if wish.key == "":
        return _told(wish, "fail", "the key space begins at '': that is no split point"), set()
    if right.low != wish.key:
        return _told(wish, "ok"), set()
    left = next(each for each in placement.partitions.values() if each.high == wish.key)
    assert not merge_problem(_range(left), _range(right)), f"{left} and {right}"
    concerned = {left.id, right.id}
    if _is_busy(able, left, held) or _is_busy(able, right, held):
        return None, concerned
    if right.group != left.group:
        return MapChange(put=(_moving(right, left.group),)), concerned
    joined = left.changed(state=MERGING, other=right.id, request=wish.request)
    gone = right.changed(state=VANISHING, other=left.id)
    return MapChange(put=(joined, gone)), concerned


def _is_busy(able: Sequence[str], partition: Partition, held: Collection[str]) -> bool:
    return partition.state != OWNED or partition.id in held or partition.group not in able


def _told(wish: Wish, status: str, error: str = "") -> MapChange | None:
    return MapChange(outcome=Outcome(wish.request, status, error)) if wish.request else None


def _range(partition: Partition) -> KeyRange:
    return KeyRange(partition.id, partition.low, partition.high, partition.epoch)
