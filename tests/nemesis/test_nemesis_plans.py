"""Plans: pure, within the run, one per interval, every kind in turn; names on the command line."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError, UserCodeError
from harness.nemesis import NEMESES, VARIANTS, compose, names, plan_all, require, schedule
from harness.nemesis.base import Plan
from harness.nemesis.packets import KINDS as PACKETS
from harness.nemesis.partition import KINDS as PARTITIONS
from harness.nemesis.process import HICCUP_NS

S = 1_000_000_000
NODES = ["n1", "n2", "n3", "n4", "n5"]
EVERYTHING = ",".join(NEMESES)


def plan(text: str, *, seed: int = 1, seconds: int = 60, nodes: Any = NODES) -> list[Plan]:
    return plan_all(
        compose(text),
        seed=seed,
        nodes=nodes,
        begin_ns=0,
        end_ns=seconds * S,
        interval_ns=5 * S,
    )


@given(st.integers(0, 1_000), st.integers(1, 120))
def test_plans_are_a_function_of_the_seed(seed: int, seconds: int) -> None:
    found = plan(EVERYTHING, seed=seed, seconds=seconds)
    assert found == plan(EVERYTHING, seed=seed, seconds=seconds)
    assert [each.id for each in found] == list(range(1, len(found) + 1))
    assert [each.begin_ns for each in found] == sorted(each.begin_ns for each in found)
    for each in found:
        assert 0 <= each.begin_ns < each.end_ns <= seconds * S
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[Plan]) == found


@given(st.integers(0, 1_000))
def test_leaving_one_nemesis_out_keeps_the_kinds_and_seeds_of_the_others(seed: int) -> None:
    both = [each.params for each in plan("partition,kill", seed=seed) if each.nemesis == "kill"]
    alone = [each.params for each in plan("kill", seed=seed)]
    shared = min(len(both), len(alone))
    assert shared >= 8 and both[:shared] == alone[:shared]


def test_other_seeds_give_other_plans() -> None:
    assert len({str(plan("partition", seed=seed)) for seed in range(20)}) == 20


@given(
    st.integers(0, 1_000),
    st.integers(0, 10 * S),
    st.integers(10_000, 100 * S),
    st.integers(1, 20 * S),
)
def test_spans_do_not_overlap_and_leave_quiet(
    seed: int, begin_ns: int, length_ns: int, interval_ns: int
) -> None:
    end_ns = begin_ns + length_ns
    interval_ns = max(interval_ns, length_ns // 200, 1_000)
    found = schedule.spans(Random(seed), begin_ns=begin_ns, end_ns=end_ns, interval_ns=interval_ns)
    times = [begin_ns, *(time for span in found for time in span), end_ns]
    assert times == sorted(times)
    for (_, until), (following, _) in itertools.pairwise(found):
        assert following > until
    if length_ns >= S:
        assert found
    faulty = sum(until - since for since, until in found)
    assert faulty <= length_ns


def test_every_kind_of_partition_comes_before_any_comes_again() -> None:
    kinds = [each.params["kind"] for each in plan("partition", seconds=300)]
    assert set(kinds[: 2 * len(PARTITIONS)]) == set(PARTITIONS)
    assert set(kinds[::2]) == {"primaries"}, "every other fault is on whoever leads"
    assert {each.params["kind"] for each in plan("packets", seconds=300)} == set(PACKETS)
    words = [each.targets for each in plan("kill", seconds=300)]
    assert set(words[:8]) == {"one", "minority", "majority", "primaries", "all"}
    assert set(words[::2]) == {"primaries"}


def test_shapes_that_need_more_nodes_are_left_out_or_refused() -> None:
    kinds = {each.params["kind"] for each in plan("partition", seconds=300, nodes=["n1", "n2"])}
    assert kinds == set(PARTITIONS) - {"bridge", "majorities-ring", "majority"}
    with pytest.raises(UsageError, match="partition-bridge needs at least 3 nodes"):
        plan("partition-bridge", nodes=["n1", "n2"])
    with pytest.raises(UsageError, match="partition needs at least 2 nodes, and the run has 1"):
        plan("partition", nodes=["n1"])


@pytest.mark.parametrize("name", [name for name in names() if name != "none"])
def test_every_listed_name_makes_a_nemesis_of_that_name(name: str) -> None:
    (made,) = compose(name)
    assert made.name == name
    assert made.needs or made.db_needs
    plans = made.plan(Random(0), nodes=NODES, begin_ns=0, end_ns=60 * S, interval_ns=5 * S)
    assert len(plans) > 5
    assert {each.nemesis for each in plans} == {name}
    base, _, kind = name.partition("-")
    if base in ("kill", "pause") and kind:
        assert {each.targets for each in plans} == {kind}
    elif kind and kind in VARIANTS[base]:
        assert {each.params["kind"] for each in plans} == {kind}


def test_kinds_and_targets_by_colon() -> None:
    (one,) = compose("partition:bridge")
    assert one.name == "partition-bridge"
    (two,) = compose("pause:n1+n2")
    assert {each.targets for each in plan("pause:n1+n2")} == {"n1+n2"}
    assert two.name == "pause"
    jumps = plan("clock:jump:n3")
    assert {(each.params["kind"], each.targets) for each in jumps} == {("jump", "n3")}
    assert compose("none") == compose("") == []
    assert [made.name for made in compose(" partition , kill ")] == ["partition", "kill"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partitoin", "did you mean 'partition'"),
        ("partition-brigde", "did you mean 'partition-bridge'"),
        ("kill,kill", "named twice"),
        ("clock:jump:n1:n2", "too many parts"),
        ("no_such_module:fault", "no_such_module"),
        ("harness.nemesis.user:fualt", "fualt"),
    ],
)
def test_wrong_names_get_a_sentence(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compose(text)


def test_unknown_target_is_refused_when_planned() -> None:
    with pytest.raises(UsageError, match="unknown target 'n9'"):
        plan("kill:n9")


class Poor:
    """An environment without abilities."""

    name = "ssh"
    abilities = frozenset({"links"})


def test_a_missing_ability_names_the_environments_that_have_it() -> None:
    assert require(compose("partition"), Poor()) == frozenset({"links"})
    with pytest.raises(UsageError, match=r"'clock' needs the ability 'clock'.*'ssh'.*sim, local"):
        require(compose("partition,clock"), Poor())
    rich = Poor()
    rich.abilities = frozenset({"membership"})  # type: ignore[misc]
    with pytest.raises(UsageError, match=r"add_member\(node\), which Poor is not"):
        require(compose("membership"), rich, Poor())


def test_an_object_that_is_no_nemesis_is_refused() -> None:
    with pytest.raises((UsageError, UserCodeError), match="no nemesis"):
        compose([object()])


def test_pauses_are_long_and_short() -> None:
    """Hiccups of leaders fill the quiet time between long pauses, which are as they were."""
    found = plan("pause")
    short = [each for each in found if each.params["kind"] == "hiccup"]
    long = [each for each in found if each not in short]
    assert len(long) >= 4 and len(short) >= len(long) - 1
    assert {each.targets for each in short} == {"primaries"}
    low, high = HICCUP_NS
    assert all(low <= each.end_ns - each.begin_ns <= high for each in short)
    for one, other in itertools.pairwise(sorted(found, key=lambda each: each.begin_ns)):
        assert one.end_ns < other.begin_ns
    assert {each.targets for each in plan("pause:n1+n2")} == {"n1+n2"}


def test_a_single_node_is_hit_though_it_is_no_minority() -> None:
    for name in ("disk", "kill", "pause", "pressure"):
        assert "minority" not in {each.targets for each in plan(name, nodes=["n1"])}
        assert "minority" in {each.targets for each in plan(name, nodes=NODES[:3])}
    assert {each.targets for each in plan("kill-minority", nodes=["n1"])} == {"minority"}


@given(st.integers(0, 1_000), st.integers(10, 60))
def test_every_other_change_of_members_begins_in_a_calm(seed: int, seconds: int) -> None:
    found = plan("partition,kill,pause,clock,membership", seed=seed, seconds=seconds)
    changes = [each for each in found if each.nemesis == "membership"]
    others = [each for each in found if each.nemesis != "membership"]
    assert changes and len(others) >= seconds // 5
    for change in changes[::2]:
        from_ns = change.begin_ns - schedule.CALM_BEFORE_NS
        until_ns = change.begin_ns + schedule.CALM_AFTER_NS
        near = [each for each in others if each.begin_ns < until_ns and each.end_ns > from_ns]
        assert not near, "the others are quiet"


@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 20), st.integers(1, 20))
def test_a_plan_without_a_stretch_is_what_is_left_of_it(
    begin: int, length: int, calm: int, calm_length: int
) -> None:
    unit = schedule.SHORTEST_NS
    whole = Plan(1, "kill", begin * unit, (begin + length) * unit)
    left = schedule.keep_calm(whole, calm * unit, (calm + calm_length) * unit)
    moments = set(range(begin, begin + length)) - set(range(calm, calm + calm_length))
    if left is None:
        assert not moments
    else:
        kept = set(range(left.begin_ns // unit, left.end_ns // unit))
        assert kept and kept <= moments
        assert kept == {moment for moment in moments if moment < calm} or min(kept) >= calm
