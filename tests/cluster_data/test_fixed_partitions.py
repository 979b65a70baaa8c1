"""Fixed Partitions: a hash that never changes, and shares with as few moves as can be."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.ablations.a36a_hash_divided_by_the_groups import HashDividedByTheGroups
from cluster.ablations.a36b_hash_salted_per_process import HashSaltedPerProcess
from cluster.data.fixed_partitions import FixedPartitions, shares

#: as ``b2sum -l 64`` of the coreutils gives it, as a number
PUBLISHED = {"": 16476032584258269876, "a": 4681665781835383343, "key-1": 4645804100768122847}


def test_the_hash_is_the_published_one() -> None:
    known = FixedPartitions(16)
    assert {key: known.stable_hash(key) for key in PUBLISHED} == PUBLISHED


def slots_in_another_process(code: str) -> set[str]:
    """What two processes with different salts print."""
    return {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip


def test_every_process_names_the_same_slot_and_builtin_hash_does_not() -> None:
    ours = "from cluster.data.fixed_partitions import FixedPartitions as F\n"
    ours += "print([F(64).slot_of(f'k{n}', groups=5) for n in range(20)])"
    assert len(slots_in_another_process(ours)) == 1
    assert len(slots_in_another_process("print([hash(f'k{n}') % 64 for n in range(20)])")) == 2


@given(st.text(), st.integers(1, 64), st.integers(1, 9), st.integers(1, 9))
def test_a_keys_slot_does_not_depend_on_the_groups(
    key: str, slots: int, one: int, two: int
) -> None:
    fixed = FixedPartitions(slots)
    assert fixed.slot_of(key, groups=one) == fixed.slot_of(key, groups=two)
    assert 0 <= fixed.slot_of(key, groups=one) < slots


def test_a36a_one_more_group_gives_most_keys_another_slot() -> None:
    keys = [f"k{n}" for n in range(200)]
    ablated, intact = HashDividedByTheGroups(64), FixedPartitions(64)
    moved = [k for k in keys if ablated.slot_of(k, groups=5) != ablated.slot_of(k, groups=6)]
    assert len(moved) > 100
    assert all(intact.slot_of(k, groups=5) == intact.slot_of(k, groups=6) for k in keys)


def test_a36b_two_nodes_name_two_slots() -> None:
    keys = [f"k{n}" for n in range(200)]
    for part, agree in ((FixedPartitions, 200), (HashSaltedPerProcess, 20)):
        one, two = part(64, node="n1"), part(64, node="n2")
        same = [k for k in keys if one.slot_of(k, groups=5) == two.slot_of(k, groups=5)]
        assert len(same) == 200 if agree == 200 else len(same) < agree


@pytest.mark.parametrize("slots", [0, -1, 16_385])
def test_a_number_of_slots_out_of_bounds_is_named(slots: int) -> None:
    with pytest.raises(ValueError, match=f"slots is {slots}; it should be 1 to 16384"):
        FixedPartitions(slots)


def test_slots_are_used_evenly() -> None:
    fixed = FixedPartitions(8)
    counts = [0] * 8
    for n in range(8_000):
        counts[fixed.slot_of(f"key-{n}", groups=3)] += 1
    assert min(counts) > 850 and max(counts) < 1_150


# -- shares ----------------------------------------------------------------------------------------

GROUPS = [f"g{n}" for n in range(6)]
maps = st.lists(st.sampled_from(["", *GROUPS]), max_size=14).map(
    lambda groups: {f"p{n:02d}": group for n, group in enumerate(groups)}
)
targets = st.lists(st.sampled_from(GROUPS), min_size=1, unique=True)


def counts(of: dict[str, str], targets: list[str]) -> list[int]:
    return [sum(group == target for group in of.values()) for target in targets]


@given(maps, targets)
def test_shares_are_balanced_within_one_and_no_assignment_moves_fewer(
    current: dict[str, str], targets: list[str]
) -> None:
    after = shares(current, targets)
    assert after.keys() == current.keys() and set(after.values()) <= set(targets)
    held = counts(after, targets)
    assert not after or max(held) - min(held) <= 1
    moved = sum(after[name] != current[name] for name in current)
    assert moved == fewest_moves(current, targets)


def fewest_moves(current: dict[str, str], targets: list[str]) -> int:
    """By the definition: what can stay, given how many each group may keep."""
    least, odd = divmod(len(current), len(targets))
    held = sorted(counts(current, targets), reverse=True)
    stay = sum(min(count, least + (place < odd)) for place, count in enumerate(held))
    return len(current) - stay


@given(maps, targets, st.sets(st.integers(0, 13)))
def test_what_is_pinned_stays_and_a_plan_that_is_carried_out_is_the_last(
    current: dict[str, str], targets: list[str], pins: set[int]
) -> None:
    pinned = {f"p{n:02d}" for n in pins} & {n for n in current if current[n]}
    after = shares(current, targets, pinned=pinned)
    assert all(after[name] == current[name] for name in pinned)
    assert set(after.values()) - set(targets) <= {current[name] for name in pinned}
    assert shares(after, targets, pinned=pinned) == after
    assert shares(current, list(reversed(targets)), pinned=pinned) == after


def test_a_balanced_map_gives_no_move_and_no_group_gives_none_either() -> None:
    even = {"p0": "g0", "p1": "g1", "p2": "g1"}
    assert shares(even, ["g0", "g1"]) == even
    assert shares(even, []) == even
