"""The plan: deterministic, minimal, balanced within one, and empty once it is carried out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.data.map_change import MapChange, Outcome, guarded
from cluster.data.partition_record import (
    LEAVING,
    MERGING,
    MOVING,
    NEW,
    OWNED,
    SPLITTING,
    VANISHING,
    Layout,
    Partition,
    encoded,
    home_node,
)
from cluster.data.partition_steps import completed
from cluster.data.placement import Placement
from cluster.data.placement_plan import (
    CREATE_MAX,
    MERGE,
    MOVE,
    SPLIT,
    Wish,
    able_groups,
    first_changes,
    plan,
)
from cluster.data.replicated_groups import CORE, founding_groups, home_group

NODES = [f"n{n}" for n in range(1, 6)]
FOUNDING = {group: members for group, members in founding_groups(NODES).items() if group != CORE}
ALL = 1_000


def placement_of(partitions: list[Partition], layout: Layout) -> Placement:
    placement = Placement("n1", FOUNDING)
    rows: dict[str, Any] = {each.key(): encoded(each) for each in partitions}
    rows["layout"] = msgspec.to_builtins(layout)
    placement.replace(5, [
        {"key": key, "value": value, "created": 1, "modified": number}
        for number, (key, value) in enumerate(sorted(rows.items()), 1)
    ])  # fmt: skip
    return placement


def carried_out(placement: Placement, changes: list[MapChange]) -> Placement:
    """The map after changes, and after all that they begin was brought to its end."""
    partitions = dict(placement.partitions)
    layout = placement.layout
    assert layout is not None
    for change in changes:
        for each in change.put:
            partitions[each.id] = each
        layout = change.layout or layout
    after = placement_of(list(partitions.values()), layout)
    while any(each.state not in (OWNED, VANISHING) for each in after.partitions.values()):
        busy = next(p for p in after.partitions.values() if p.state not in (OWNED, VANISHING))
        done = completed(busy, after)
        partitions = dict(after.partitions)
        for each in (*done.put, *done.create):
            partitions[each.id] = each
        for each in done.remove:
            del partitions[each.id]
        after = placement_of(list(partitions.values()), layout)
    return after


def partition(number: int, group: str, **fields: Any) -> Partition:
    return Partition(
        id=f"p{number:05d}", scheme="slots", low=number, high=number + 1, group=group,
        state=fields.pop("state", OWNED), **fields,
    )  # fmt: skip


groups = st.sampled_from([home_group(node) for node in NODES])


@st.composite
def maps(draw: st.DrawFn) -> Placement:
    partitions = []
    for number, group in enumerate(draw(st.lists(groups, min_size=1, max_size=12))):
        other = draw(groups)
        state = draw(st.sampled_from([OWNED, OWNED, OWNED, MOVING, LEAVING, NEW]))
        fields: dict[str, Any] = {"state": state, "epoch": draw(st.integers(2, 9))}
        if state in (MOVING, LEAVING):
            if other == group:
                fields["state"] = OWNED
            else:
                fields["other"] = other
        elif state == OWNED:
            fields["pinned"] = draw(st.booleans()) and draw(st.booleans())
        partitions.append(partition(number, group, **fields))
    return placement_of(partitions, Layout(slots=len(partitions), next=len(partitions)))


living_nodes = st.sets(st.sampled_from(NODES), min_size=1)


def moves_of(changes: list[MapChange]) -> list[Partition]:
    return [each for change in changes for each in change.put]


@given(maps(), living_nodes)
def test_a_plan_depends_on_the_map_alone_and_moves_no_busy_partition(
    placement: Placement, living: set[str]
) -> None:
    changes = plan(placement, living, moves_max=ALL)
    assert changes == plan(placement, sorted(living, reverse=True), moves_max=ALL)
    moved = moves_of(changes)
    assert len({each.id for each in moved}) == len(moved)
    able = able_groups(placement, living)
    for each in moved:
        before = placement.partitions[each.id]
        assert before.state == OWNED and before.group in able
        assert each == before.changed(state=MOVING, other=each.other, pinned=False)
        assert each.other in able and home_node(each.other) in living


@given(maps(), living_nodes)
def test_once_a_plan_is_carried_out_the_next_is_empty_and_balanced(
    placement: Placement, living: set[str]
) -> None:
    after = carried_out(placement, [])  # what was under way is done first
    after = carried_out(after, plan(after, living, moves_max=ALL))
    assert plan(after, living, moves_max=ALL) == []
    able = able_groups(after, living)
    targets = [name for name in able if home_node(name) in living]
    held = dict.fromkeys(targets, 0)
    pinned = 0
    for each in after.partitions.values():
        pinned += each.pinned
        if each.group in held:
            held[each.group] += 1
        elif targets:
            assert each.group not in able, f"{each} could have moved"
    if held and not pinned:
        assert max(held.values()) - min(held.values()) <= 1


@given(maps(), living_nodes)
def test_a_balanced_map_stays_as_it_is_when_a_node_dies_but_for_its_own_share(
    placement: Placement, dying: set[str]
) -> None:
    even = carried_out(placement, [])
    even = carried_out(even, plan(even, NODES, moves_max=ALL))
    assert plan(even, NODES, moves_max=ALL) == []
    dead = min(dying)
    lost = [each.id for each in even.partitions.values() if each.group == home_group(dead)]
    moved = moves_of(plan(even, set(NODES) - {dead}, moves_max=ALL))
    if not any(each.pinned for each in even.partitions.values()):
        assert sorted(each.id for each in moved) == lost


@given(maps(), living_nodes, st.integers(0, 5))
def test_only_so_many_partitions_move_at_once(
    placement: Placement, living: set[str], moves_max: int
) -> None:
    under_way = sum(each.state == MOVING for each in placement.partitions.values())
    begun = moves_of(plan(placement, living, moves_max=moves_max))
    assert len(begun) <= max(0, moves_max - under_way)
    whole = moves_of(plan(placement, living, moves_max=ALL))
    assert begun == whole[: len(begun)]


def test_a_group_without_a_majority_neither_gives_nor_takes() -> None:
    placement = placement_of([partition(n, f"g-n{n + 1}") for n in range(5)], Layout(slots=5))
    # g-n1 has n1 n2 n3, and n2 and n3 are dead: only n1 is left of it
    assert able_groups(placement, {"n1", "n4", "n5"}) == ["g-n3", "g-n4", "g-n5"]
    moved = moves_of(plan(placement, {"n1", "n4", "n5"}))
    assert [(each.id, each.other) for each in moved] == [("p00002", "g-n4")]


def test_a_node_that_joined_gets_a_group_when_there_are_nodes_enough() -> None:
    placement = placement_of([partition(n, f"g-n{n + 1}") for n in range(5)], Layout(slots=5))
    assert plan(placement, {*NODES, "n6"}) == [MapChange(groups={"g-n6": ("n6", "n1", "n2")})]
    assert plan(placement, {*NODES, "n3a"}) == [MapChange(groups={"g-n3a": ("n3a", "n4", "n5")})]
    assert not [change for change in plan(placement, {"n1", "n6"}) if change.groups]


def test_the_first_map_is_made_in_pieces_and_from_where_it_was_left() -> None:
    layout = Layout(slots=CREATE_MAX + 6)
    placement = Placement("n1", FOUNDING)
    placement.replace(1, [])
    rows: dict[str, Any] = {}
    sizes = []
    for _ in range(4):
        change = first_changes(layout, FOUNDING, placement)
        sizes.append((len(change.groups), len(change.create)))
        rows |= {each.key(): encoded(each) for each in change.create}
        rows |= {"groups/" + name: {"members": each} for name, each in change.groups.items()}
        if change.layout is not None:
            break
        placement.replace(placement.revision + 1, [
            {"key": k, "value": v, "created": 1, "modified": 1} for k, v in sorted(rows.items())
        ])  # fmt: skip
    assert sizes == [(5, 0), (0, CREATE_MAX), (0, 6), (0, 0)]
    assert change.layout == msgspec.structs.replace(layout, next=layout.slots)
    assert len(rows) == layout.slots + 5


# -- wishes ----------------------------------------------------------------------------------------


def ranges(*cuts: tuple[str, str | None, str]) -> Placement:
    partitions = [
        Partition(id=f"p{n:05d}", scheme="ranges", low=low, high=high, group=group, state=OWNED)
        for n, (low, high, group) in enumerate(cuts)
    ]
    return placement_of(partitions, Layout(scheme="ranges", next=len(partitions)))


FIVE = [("", "b", "g-n1"), ("b", "c", "g-n2"), ("c", "d", "g-n3"), ("d", "e", "g-n4"),
        ("e", None, "g-n5")]  # fmt: skip


def test_a_split_takes_the_next_name_and_only_one_is_begun_at_once() -> None:
    placement = ranges(*FIVE)
    wishes = [Wish(op=SPLIT, key=key, request=key) for key in ("bb", "cc")]
    changes = plan(placement, NODES, wishes)
    assert len(changes) == 1
    (split,) = changes[0].put
    assert (split.state, split.at, split.other, split.request) == (SPLITTING, "bb", "p00005", "bb")
    assert changes[0].layout is not None and changes[0].layout.next == 6
    after = carried_out(placement, changes)
    (second,) = [change for change in plan(after, NODES, wishes[1:]) if change.layout]
    assert second.put[0].other == "p00006"


def test_a_merge_brings_the_right_part_to_the_left_ones_group_first() -> None:
    placement = ranges(*FIVE)
    wish = Wish(op=MERGE, key="c", request="r")
    first = plan(placement, NODES, [wish])
    (moved,) = moves_of(first)
    assert (moved.id, moved.state, moved.other, moved.request) == ("p00002", MOVING, "g-n2", "")
    after = carried_out(placement, first)
    second = plan(after, NODES, [wish])
    left, right = moves_of(second)
    assert (left.id, left.state, left.other, left.request) == ("p00001", MERGING, "p00002", "r")
    assert (right.id, right.state, right.other) == ("p00002", VANISHING, "p00001")
    done = carried_out(after, second)
    assert (done.partitions["p00001"].low, done.partitions["p00001"].high) == ("b", "d")
    assert done.partitions["p00001"].epoch == 3
    again = plan(done, NODES, [wish])
    assert again[0].outcome == Outcome("r", "ok")


def test_a_wish_for_a_busy_partition_waits_and_is_not_balanced_away() -> None:
    placement = ranges(*FIVE)
    busy = placement_of(
        [placement.partitions["p00002"].changed(state=MOVING, other="g-n2", epoch=1),
         *(each for each in placement.partitions.values() if each.id != "p00002")],
        Layout(scheme="ranges", next=5),
    )  # fmt: skip
    for wish in (Wish(op=SPLIT, key="cc", request="r"), Wish(op=MERGE, key="d", request="r"),
                 Wish(op=MOVE, key="p00002", to="g-n1", request="r")):  # fmt: skip
        assert all(change.outcome is None for change in plan(busy, NODES, [wish]))
        concerned = {name for change in plan(busy, NODES, [wish]) for name in change.concerns}
        assert "p00002" not in concerned and "p00003" not in concerned


@pytest.mark.parametrize(
    ("wish", "status", "error"),
    [
        (Wish(op=MERGE, key="cc", request="r"), "ok", ""),
        (Wish(op=SPLIT, key="c", request="r"), "ok", ""),
        (Wish(op=MOVE, key="p00001", to="g-n2", request="r"), "ok", ""),
        (Wish(op=MERGE, key="", request="r"), "fail", "the key space begins at ''"),
        (Wish(op=MOVE, key="p00001", to="g-x", request="r"), "fail", "there is no group 'g-x'"),
    ],
)
def test_what_is_so_already_or_cannot_be_is_answered(wish: Wish, status: str, error: str) -> None:
    (change,) = plan(ranges(*FIVE), NODES, [wish])
    assert not change.put and change.outcome is not None
    assert (change.outcome.request, change.outcome.status) == ("r", status)
    assert error in change.outcome.error
    silent = msgspec.structs.replace(wish, request="")
    assert plan(ranges(*FIVE), NODES, [silent]) == []


def test_nothing_is_moved_to_a_group_whose_home_is_dead() -> None:
    wish = Wish(op=MOVE, key="p00001", to="g-n5", request="r")
    change = plan(ranges(*FIVE), {"n1", "n2", "n3", "n4"}, [wish])[0]
    assert change.outcome == Outcome("r", "fail", "the home node of g-n5 does not live")
    begun = carried_out_once(ranges(*FIVE), plan(ranges(*FIVE), NODES, [wish]))
    assert begun.partitions["p00001"].state == MOVING
    # what is under way is answered at its end, whoever dies meanwhile
    assert all(each.outcome is None for each in plan(begun, {"n1", "n2", "n3", "n4"}, [wish]))


def carried_out_once(placement: Placement, changes: list[MapChange]) -> Placement:
    """The map after changes, with what they begin under way."""
    partitions = dict(placement.partitions)
    for change in changes:
        partitions |= {each.id: each for each in change.put}
    assert placement.layout is not None
    return placement_of(list(partitions.values()), placement.layout)


def test_a_change_is_guarded_by_the_token_and_by_every_record_it_replaces() -> None:
    placement = ranges(*FIVE)
    (change,) = plan(placement, NODES, [Wish(op=SPLIT, key="bb")])
    command = guarded(change, placement, 77)
    compares, then, otherwise = command.args
    assert compares == [
        ["controller", "created", "==", 77],
        ["partitions/p00001", "modified", "==", placement.modified["partitions/p00001"]],
        ["layout", "modified", "==", placement.modified["layout"]],
    ]
    assert [part[1] for part in then] == ["partitions/p00001", "layout", "controller"]
    assert otherwise == [["stat", "controller"]]
    with pytest.raises(AssertionError, match="only a controller changes the map"):
        guarded(change, placement, 0)


def test_the_two_parts_of_a_split_are_written_together() -> None:
    placement = ranges(*FIVE)
    (change,) = plan(placement, NODES, [Wish(op=SPLIT, key="bb", request="r")])
    assert change.layout is not None
    begun = placement_of([*placement.partitions.values()][:1] + list(change.put)
                         + [*placement.partitions.values()][2:], change.layout)  # fmt: skip
    done = completed(begun.partitions["p00001"], begun)
    assert [(each.id, each.low, each.high, each.epoch, each.state) for each in
            (*done.put, *done.create)] == [
        ("p00001", "b", "bb", 2, OWNED), ("p00005", "bb", "c", 2, OWNED),
    ]  # fmt: skip
    assert done.outcome == Outcome("r", "ok")
    compares = guarded(done, begun, 7).args[0]
    assert ["partitions/p00005", "version", "==", 0] in compares
