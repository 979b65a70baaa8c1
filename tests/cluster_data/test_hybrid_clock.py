"""Hybrid Clock and Clock-Bound Wait. Goal: timestamps grow with causality and stay near physical
time, restarts and broken clocks included. Method: cases by hand, and random messages between nodes
whose clocks jump, with a restart at any point."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.clocks.clock_bound_wait import ClockBoundWait
from cluster.clocks.hybrid_clock import ClockNotReady, HybridClock

OFFSET = 1_000


def clock(*, durable: int = 0, bound: int = 1 << 60) -> HybridClock:
    made = HybridClock(max_offset_ns=OFFSET, durable_ns=durable, reserve_ns=bound)
    wanted = made.bound_wanted(durable + 1)
    made.bound_durable(wanted)
    return made


def test_a_timestamp_is_physical_time_and_grows_when_that_does_not() -> None:
    one = clock()
    assert [one.now(wall) for wall in (100, 100, 100, 99, 200, 150)] == [
        100, 101, 102, 103, 200, 201,
    ]  # fmt: skip


def test_a_remote_timestamp_is_merged_up_to_the_maximum_offset() -> None:
    one = clock()
    assert one.observe(100, 100 + OFFSET) is True
    assert one.ahead_ns(100) == OFFSET
    assert one.now(101) == 100 + OFFSET + 1
    assert one.observe(200, 201 + OFFSET) is False
    assert one.now(200) == 100 + OFFSET + 2
    assert one.observe_read(1200, 1300) is True
    assert one.now(1200) == 1301


def test_a_clock_that_went_back_issues_nothing_until_it_has_caught_up() -> None:
    one = clock()
    assert one.now(10_000) == 10_000
    with pytest.raises(ClockNotReady, match=r"9001 ns behind .* at most 1000 ns"):
        one.now(1_000)
    assert one.now(9_001) == 10_001


def test_a_new_clock_issues_nothing_before_its_bound_is_durable() -> None:
    one = HybridClock(max_offset_ns=OFFSET, reserve_ns=100)
    with pytest.raises(ClockNotReady, match="not durable"):
        one.now(1_000)
    bound = one.bound_wanted(1_000)
    assert bound == 1_100
    assert one.bound_wanted(1_000) == 0, "each bound is named once"
    one.bound_durable(bound)
    assert one.now(1_000) == 1_000
    assert one.bound_wanted(1_049) == 0
    assert one.bound_wanted(1_050) == 1_150, "half of the reserve is used"
    assert one.now(1_100) == 1_100
    with pytest.raises(ClockNotReady, match="not durable"):
        one.now(1_101)
    one.bound_durable(1_150)
    assert one.now(1_101) == 1_101


def test_a_restart_begins_above_all_that_may_have_been_issued() -> None:
    again = HybridClock(max_offset_ns=OFFSET, durable_ns=5_000, reserve_ns=100)
    assert again.bound_wanted(3_000) == 0, "it has to catch up first"
    assert "2001 ns behind" in again.problem(3_000)
    again.bound_durable(again.bound_wanted(4_001))
    assert again.now(4_001) == 5_001


def test_a_far_bound_is_not_asked_for_by_a_clock_that_must_wait() -> None:
    one = clock(bound=100)
    one.last = 1_000_000
    assert one.bound_wanted(50) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_offset_ns": -1}, "max_offset_ns is -1"),
        ({"max_offset_ns": 1, "durable_ns": -2}, "durable_ns is -2"),
        ({"max_offset_ns": 1, "reserve_ns": 0}, "reserve_ns is 0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HybridClock(**arguments)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["issue", "send", "restart", "jump"]),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(-3_000, 3_000),
    ),
    max_size=60,
)


@given(STEPS)
def test_timestamps_grow_with_causality_whatever_clocks_do(
    steps: list[tuple[str, int, int, int]],
) -> None:
    walls = [10_000, 10_400, 9_700]
    clocks = [HybridClock(max_offset_ns=OFFSET, reserve_ns=500) for _ in walls]
    #: the highest timestamp each node has issued or merged, and the highest it has issued
    known, own = [0, 0, 0], [0, 0, 0]
    for kind, node, other, step in steps:
        one, wall = clocks[node], walls[node]
        bound = one.bound_wanted(wall)
        if bound and step % 2:
            one.bound_durable(bound)
        if kind == "restart":
            clocks[node] = HybridClock(max_offset_ns=OFFSET, reserve_ns=500, durable_ns=one.durable)
            known[node] = own[node]  # what was merged and not issued above is forgotten
            continue
        if kind == "jump":
            walls[node] = max(0, wall + step)
            continue
        if one.problem(wall):
            with pytest.raises(ClockNotReady):
                one.now(wall)
            continue
        issued = one.now(wall)
        assert issued > known[node]
        assert issued >= wall
        assert issued - wall <= OFFSET
        known[node] = own[node] = issued
        if kind == "send" and clocks[other].observe(walls[other], issued):
            known[other] = max(known[other], issued)
        walls[node] += abs(step) // 4


def test_the_wait_ends_when_the_slowest_clock_is_past() -> None:
    wait = ClockBoundWait(250)
    assert (wait.earliest(1_000), wait.latest(1_000)) == (750, 1_250)
    assert wait.waits_for_clock_bound(1_000, 750) is True
    assert wait.waits_for_clock_bound(1_000, 749) is False
    assert wait.left_ns(1_000, 749) == 0
    assert wait.left_ns(1_000, 1_000) == 251
    assert wait.waits_for_clock_bound(1_000 + 251, 1_000) is False
    with pytest.raises(ValueError, match="bound_ns is -1"):
        ClockBoundWait(-1)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 500), st.integers(0, 500))
def test_after_the_wait_no_clock_within_the_bound_is_behind(
    wall: int, timestamp: int, bound: int, skew: int
) -> None:
    wait = ClockBoundWait(bound)
    later = wall + wait.left_ns(wall, timestamp)
    assert not wait.waits_for_clock_bound(later, timestamp)
    if skew <= bound:
        assert later - skew > timestamp
