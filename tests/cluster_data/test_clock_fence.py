"""The clock fence. Goal: a node whose clock is off by more than the bound refuses transactions, and
no other node does, however late messages come. Method: cases by hand for intervals, round trips and
the fence alone, and worlds whose nodes stamp messages to each other."""

from __future__ import annotations

from typing import Any

import pytest
from txn_world import EPOCH_NS, Node, World

from cluster.clocks.hybrid_clock import HybridClock
from cluster.config import MS, ClusterConfig
from cluster.data.clock_fence import WINDOW_NS, ClockFence
from cluster.data.round_trips import EVERY_NS, RoundTrips, trip_ns
from cluster.data.stamps import Stamps
from cluster.wire import Grouped, Heartbeat


def fence(**ahead_ms: int) -> ClockFence:
    made = ClockFence(20 * MS)
    for peer, each in ahead_ms.items():
        made.heard(0, peer, each * MS, 0)
    return made


def test_a_majority_that_disagrees_fences_the_node() -> None:
    assert fence().problem(0) == ""
    assert fence(a=-20, b=20).problem(0) == ""
    assert fence(a=21, b=0).problem(0) == "", "that is the trouble of a"
    assert fence(a=21, b=-21).problem(0) == "", "they do not agree with each other"
    said = fence(a=21, b=30, c=0).problem(0)
    assert said == (
        "this node's clock is behind those of 2 of 3 peers by 0.021 s or more, and at most "
        "0.02 s is allowed"
    )
    assert "ahead of those of 2 of 2 peers" in fence(a=-40, b=-50).problem(0)


def test_a_late_message_widens_the_interval_and_takes_nothing_away() -> None:
    made = fence(a=-1, b=-2)
    for step in range(1, 4):
        made.heard(step * MS, "a", -500 * MS, 502 * MS)
        made.heard(step * MS, "b", -500 * MS, None)
    assert made.problem(4 * MS) == ""
    assert made.skew_ns(4 * MS) == {"a": (-MS, -MS), "b": (-2 * MS, -2 * MS)}


@pytest.mark.parametrize("trip_ms", [None, 3_000, 2_980])
def test_messages_that_are_all_late_fence_no_node(trip_ms: int | None) -> None:
    """Found on real processes: a node that was stopped for 3 s refused transactions for 3 s more,
    since all that it read then was 3 s old."""
    made = ClockFence(20 * MS)
    for peer in ("a", "b", "c", "d"):
        made.heard(0, peer, -3_000 * MS, None if trip_ms is None else trip_ms * MS)
    assert made.problem(0) == ""


def test_late_messages_of_clocks_that_are_off_are_enough_where_the_trip_bounds_them() -> None:
    made = ClockFence(20 * MS)
    for peer in ("a", "b"):
        made.heard(0, peer, -3_000 * MS, 2_979 * MS)
    assert made.problem(0) == (
        "this node's clock is ahead of those of 2 of 2 peers by 0.021 s or more, and at most "
        "0.02 s is allowed"
    )


def test_intervals_that_have_nothing_in_common_begin_anew() -> None:
    made = fence(a=0)
    made.heard(MS, "a", 90 * MS, 5 * MS)
    assert made.skew_ns(MS) == {"a": (90 * MS, 95 * MS)}, "its clock has jumped ahead"
    made.heard(2 * MS, "a", 10 * MS, None)
    made.heard(2 * MS, "a", 91 * MS, 10 * MS)
    assert made.skew_ns(2 * MS) == {"a": (91 * MS, 95 * MS)}
    made.heard(3 * MS, "a", -MS, MS)
    assert made.skew_ns(3 * MS) == {"a": (-MS, 0)}, "and back"


def test_a_trip_is_the_time_on_the_way_without_the_time_at_the_peer() -> None:
    n1, n2 = RoundTrips(), RoundTrips()
    assert n2.back(9_000, "n1") == 0, "nothing was heard"
    n2.heard(9_000, "n1", 100)  # sent by n1 at 100 of its own clock, on the way for 5
    back = n2.back(9_070, "n1")
    assert back == 170
    assert trip_ns(182, back) == 12, "5 there, 70 held, 7 back"
    n1.heard(182, "n2", 9_070)
    assert n2.back(9_071, "n1") == 0, "a time is given back now and then"
    assert n2.back(9_070 + EVERY_NS, "n1") == 170 + EVERY_NS
    assert trip_ns(182, 0) is None and trip_ns(182, 183) is None, "of another life of the clock"


class Still:
    """Clocks that a test moves."""

    def __init__(self, mono: int, wall: int) -> None:
        self.mono, self.wall = mono, wall

    def monotonic_ns(self) -> int:
        return self.mono

    def wall_ns(self) -> int:
        return self.wall


def message(stamp: int, sent: int = 0, back: int = 0) -> Grouped:
    return Grouped(1, "g-n1", Heartbeat(1, 1, 0), stamp, sent, back)


def test_a_message_bounds_its_senders_clock_from_both_sides_if_it_gives_a_time_back() -> None:
    here, there = Still(5_000, 70_000), Still(100, 70_300)
    mine, peers = (
        Stamps(ClusterConfig(clock_offset_bound_ns=1_000), clock, 0) for clock in (here, there)
    )
    peers.heard("n1", message(*mine.times("n2")))
    here.mono, here.wall = 5_900, 70_900
    there.mono, there.wall = 600, 70_800
    mine.heard("n2", message(*peers.times("n1")))
    assert mine.fence.skew_ns(here.mono) == {"n2": (-100, 300)}, "it is 300 ahead"


def test_a_jump_is_confirmed_only_by_who_bounds_the_clock_from_both_sides() -> None:
    """A message that was under way for long, or one of before the jump, confirms nothing."""
    made = fence(a=0, b=0, c=0)
    made.look(0, 1_000 * MS)
    made.look(1 * MS, 9_000 * MS)
    for peer in ("a", "b", "c"):
        made.heard(2 * MS, peer, -7_999 * MS, None)
    assert "0 of 2 peers have confirmed it" in made.problem(2 * MS)
    for peer in ("a", "b"):
        made.heard(3 * MS, peer, -7_999 * MS, MS)
    assert "ahead of those of 2 of 3 peers" in made.problem(3 * MS)


def test_the_word_of_a_peer_ends() -> None:
    made = fence(a=-50, b=-50)
    assert made.problem(WINDOW_NS)
    assert made.problem(WINDOW_NS + 1) == "" and made.skew_ns(WINDOW_NS + 1) == {}
    made.heard(WINDOW_NS + 2, "a", 0, MS)
    assert made.skew_ns(WINDOW_NS + 2) == {"a": (0, MS)}
    made.heard(2 * WINDOW_NS, "a", -30 * MS, None)
    assert made.skew_ns(2 * WINDOW_NS)["a"] == (0, MS)
    made.heard(3 * WINDOW_NS - 1, "a", -30 * MS, None)
    assert made.skew_ns(3 * WINDOW_NS - 1)["a"] == (-30 * MS, None), "the better word is forgotten"


def stamping(world: World) -> World:
    """Every node stamps a message to every other one now and then."""

    def beat() -> None:
        for one in world.nodes.values():
            for other in world.nodes.values():
                if one is not other:
                    send(one, other, message(*one.stamps.times(other.name)))
        world.after(10 * MS, beat)

    def send(one: Node, other: Node, sent: Grouped) -> None:
        delay = world.rng.randint(MS // 10, 3 * MS)
        world.after(delay, lambda: other.stamps.heard(one.name, sent))

    beat()
    world.run(100 * MS)
    return world


def outcomes(world: World) -> list[str]:
    return [world.run_txn(node, [["w", "a", 1]])[0] for node in ("n1", "n2", "n3")]


@pytest.mark.parametrize("skew_ms", [60, -60, 3_600_000])
def test_only_the_node_whose_clock_is_off_refuses(skew_ms: int) -> None:
    world = stamping(World(1, faults=False, skews_ns=(0, 5 * MS, -5 * MS)))
    assert outcomes(world) == ["ok", "ok", "ok"]
    world.nodes["n3"].wall.skew_ns = skew_ms * MS
    world.run(4_000 * MS)
    assert outcomes(world) == ["ok", "ok", "fail"]
    word = "ahead of" if skew_ms > 0 else "behind"
    status, _, error = world.run_txn("n3", [["r", "a", None]])
    assert status == "fail" and f"this node's clock is {word} those of 2 of 2 peers" in error
    assert word in world.nodes["n3"].part.status()["clock_problem"]
    for node in ("n1", "n2"):
        assert world.nodes[node].part.status()["clock_ahead_ns"] <= 20 * MS
    world.nodes["n3"].wall.skew_ns = 0
    world.run(4_000 * MS)
    assert outcomes(world) == ["ok", "ok", "ok"]


def test_a47b_a_clock_that_is_off_and_trusted_misses_what_was_answered() -> None:
    """Without the fence correct code breaks its promise: the declared bound does not hold."""
    trusting = type("Trusting", (ClockFence,), {"is_fenced": lambda self, disagree, heard: False})
    for fence, expected in ((ClockFence, "fail"), (trusting, [["r", "a", None]])):
        skews = (0, 5 * MS, -300 * MS)
        world = World(1, faults=False, skews_ns=skews, fence=fence)
        world = stamping(world)
        world.run(1_000 * MS)
        world.run_txn("n1", [["w", "a", 1]])
        hidden = world.nodes["n3"].stamps.hybrid
        assert hidden.ahead_ns(world.nodes["n3"].wall.wall_ns()) <= 20 * MS
        found: Any = world.run_txn("n3", [["r", "a", None]])
        assert expected in found


def test_a46b_a_clock_that_accepts_anything_follows_the_one_that_is_off() -> None:
    trusting = type("Trusting", (HybridClock,), {"accepts": lambda self, wall, remote: True})
    world = World(1, faults=False, hybrid=trusting)
    stamping(world)
    world.nodes["n3"].wall.skew_ns = 3_600_000 * MS
    world.run(200 * MS)
    ahead = world.nodes["n1"].part.status()["clock_ahead_ns"]
    assert ahead > 3_000_000 * MS, "one broken clock drags the others along"
    assert outcomes(world)[:2] == ["fail", "fail"]


@pytest.mark.parametrize("node", ["n1", "n3"])
def test_a_clock_that_jumps_is_not_trusted_for_a_moment(node: str) -> None:
    """What was heard before the jump says nothing of the clock after it. A node that went on for
    the time that a word counts would close timestamps an hour ahead, and commit there."""
    world = stamping(World(1, faults=False))
    assert outcomes(world) == ["ok", "ok", "ok"]
    world.nodes[node].wall.skew_ns += 3_600_000 * MS
    status, _, error = world.run_txn(node, [["w", "a", 1]])
    assert status == "fail" and ("has jumped" in error or "ahead of those of" in error)
    world.run(1_000 * MS)
    for group in world.data.values():
        assert group.machine.store.closed < EPOCH_NS + world.now + 20 * MS
    assert sorted(outcomes(world)) == ["fail", "ok", "ok"]
    world.nodes[node].wall.skew_ns -= 3_600_000 * MS
    world.run(200 * MS)
    assert outcomes(world)[:2] == ["ok", "ok"] or node != "n1"


def test_a_node_that_hears_nobody_has_nobody_to_confirm_its_clock() -> None:
    made = ClockFence(20 * MS)
    made.look(0, 1_000 * MS)
    made.look(1 * MS, 9_000 * MS)
    assert made.problem(1 * MS) == ""
    for peer in ("a", "b", "c"):
        made.heard(2 * MS, peer, 0, 0)
    made.look(3 * MS, 9_002 * MS)
    assert made.problem(3 * MS) == ""
    made.look(4 * MS, 9_100 * MS)
    made.heard(5 * MS, "a", 0, 0)
    assert made.problem(5 * MS) == (
        "this node's clock has jumped by 0.097 s, and 1 of 2 peers have confirmed it since"
    )
    made.heard(6 * MS, "b", 0, 0)
    assert made.problem(6 * MS) == ""


def test_a_restarted_node_does_not_stamp_the_bound_of_its_former_life() -> None:
    """Found in simulation: most nodes crashed and came back, and the one that had not fenced itself
    for as long as their durable bounds lay ahead."""

    stamps = Stamps(ClusterConfig(clock_offset_bound_ns=100), Still(0, 5_000), durable=9_000)
    assert stamps.stamp() == 5_000
    stamps.heard("n2", message(5_060))
    assert stamps.stamp() == 5_060, "what follows from a message is later"
    assert stamps.observe(5_080) and stamps.stamp() == 5_080
    assert not stamps.observe(5_200) and stamps.stamp() == 5_080
    assert stamps.hybrid.last == 9_000, "and what it issues is above its former life"
