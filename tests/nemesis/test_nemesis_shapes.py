"""Shapes of partitions and target words: what must hold for any nodes and any seed."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.nemesis import shapes, targets
from harness.nemesis.shapes import SHAPES, Shape

counts = st.integers(2, 9)
seeds = st.integers(0, 10_000)


def names(count: int) -> list[str]:
    return [f"n{i}" for i in range(1, count + 1)]


def hears(shape: Shape, nodes: list[str]) -> dict[str, set[str]]:
    return {b: {a for a in nodes if (a, b) not in shape.cut} for b in nodes}


@given(st.sampled_from(sorted(SHAPES)), st.integers(1, 9), seeds)
def test_every_shape_cuts_something_between_nodes_and_is_pure(
    name: str, count: int, seed: int
) -> None:
    shape, fewest = SHAPES[name]
    nodes = names(max(count, fewest))
    found = shape(nodes, Random(seed))
    assert found == shape(nodes, Random(seed))
    assert found.cut and len(set(found.cut)) == len(found.cut)
    assert all(a != b and a in nodes and b in nodes for a, b in found.cut)
    assert list(found.cut) == sorted(found.cut)


@given(st.sampled_from(("one", "halves", "random", "majority", "minority-third")), counts, seeds)
def test_splits_have_groups_that_hear_all_of_themselves_and_nothing_else(
    name: str, count: int, seed: int
) -> None:
    nodes = names(max(count, SHAPES[name][1]))
    found = SHAPES[name][0](nodes, Random(seed))
    assert sorted(node for group in found.value for node in group) == nodes
    heard = hears(found, nodes)
    for group in found.value:
        assert group
        for node in group:
            assert heard[node] == set(group)


@given(st.integers(3, 9), seeds)
def test_sizes_of_groups(count: int, seed: int) -> None:
    nodes = names(count)
    sizes = {
        name: sorted(len(group) for group in SHAPES[name][0](nodes, Random(seed)).value)
        for name in ("one", "halves", "majority", "minority-third")
    }
    assert sizes["one"] == sorted([1, count - 1])
    assert sizes["halves"] == [count // 2, count - count // 2]
    small = count - (count // 2 + 1)
    assert sizes["majority"] == sorted(size for size in (small, count // 2 + 1) if size)
    assert min(sizes["minority-third"]) * 3 <= max(count, 3)


@given(st.integers(3, 9), seeds)
def test_in_a_majorities_ring_all_hear_a_majority_and_no_two_the_same(
    count: int, seed: int
) -> None:
    nodes = names(count)
    heard = hears(shapes.majorities_ring(nodes, Random(seed)), nodes)
    size = targets.majority_size(count)
    assert all(len(heard[node]) == size and node in heard[node] for node in nodes)
    assert len({frozenset(group) for group in heard.values()}) == count


@given(st.integers(3, 9), seeds)
def test_a_bridge_sees_both_halves_which_do_not_see_each_other(count: int, seed: int) -> None:
    nodes = names(count)
    found = shapes.bridge(nodes, Random(seed))
    heard = hears(found, nodes)
    bridges = [node for node in nodes if heard[node] == set(nodes)]
    assert len(bridges) == 1
    halves = {frozenset(heard[node] - set(bridges)) for node in nodes if node not in bridges}
    left, right = sorted(halves, key=len)
    assert not left & right and left | right == set(nodes) - set(bridges)
    assert len(right) - len(left) <= 1
    assert all((b, a) in found.cut for a, b in found.cut)


@given(counts, seeds)
def test_a_one_way_cut_never_cuts_both_ways(count: int, seed: int) -> None:
    found = shapes.one_way(names(count), Random(seed))
    assert len(found.cut) == count - 1
    assert not any((b, a) in found.cut for a, b in found.cut)
    ends = [{a for a, _ in found.cut}, {b for _, b in found.cut}]
    assert 1 in map(len, ends)


@given(counts, st.data())
def test_isolated_nodes_hear_only_themselves(count: int, data: st.DataObject) -> None:
    nodes = names(count)
    alone = data.draw(st.sets(st.sampled_from(nodes), min_size=1))
    heard = hears(shapes.isolate(alone, nodes), nodes)
    rest = set(nodes) - alone
    assert all(heard[node] == ({node} if node in alone else rest) for node in nodes)


@given(st.integers(1, 9), st.sampled_from(("one", "minority", "majority", "all", "random")), seeds)
def test_words_choose_the_sizes_they_say(count: int, word: str, seed: int) -> None:
    nodes = names(count)
    found = targets.choose(word, nodes, Random(seed))
    assert found == targets.choose(word, nodes, Random(seed))
    assert found == [node for node in nodes if node in found]
    size = len(found)
    match word:
        case "one":
            assert size == 1
        case "minority":
            assert 2 * size < count <= 2 * size + 2
        case "majority":
            assert 2 * size > count >= 2 * size - 2
        case "all":
            assert size == count
        case "random":
            assert 1 <= size <= count


def test_names_of_nodes_are_targets_and_others_are_refused() -> None:
    nodes = names(3)
    assert targets.choose("n3,n1", nodes, Random(0)) == ["n1", "n3"]
    assert targets.choose("n2+n3", nodes, Random(0)) == ["n2", "n3"]
    with pytest.raises(UsageError, match="'minoritty'; did you mean 'minority'"):
        targets.check("minoritty", nodes)
    with pytest.raises(UsageError, match="unknown target 'n4'"):
        targets.check("n1+n4", nodes)
    with pytest.raises(UsageError, match="must be one of"):
        targets.check(",", nodes)
