"""Key-Range Partitions: ranges tile the key space through every split and merge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.data.key_range_partitions import (
    KeyRange,
    KeyRangePartitions,
    merge_problem,
    split_problem,
)

keys = st.text(alphabet="abcd", max_size=4)
bounds = st.one_of(st.none(), keys)
#: what is done to the ranges: a split at a key, or a merge at a split point
steps = st.lists(st.tuples(st.booleans(), keys), max_size=12)


def made(todo: list[tuple[bool, str]]) -> KeyRangePartitions:
    """Ranges after some splits and merges, each done if it can be; epochs only grow."""
    ranges = KeyRangePartitions([KeyRange("p0", "", None)])
    seen: dict[tuple[str, int], tuple[str, str | None]] = {("p0", 1): ("", None)}
    for number, (splits, key) in enumerate(todo):
        whole = ranges.find(key)
        if splits and not split_problem(whole, key):
            ranges = ranges.split(whole.partition, key, f"q{number}")
        elif not splits and whole.low == key != "":
            left = next(each for each in ranges if each.high == key)
            ranges = ranges.merge(left.partition, whole.partition)
        for each in ranges:
            shape = each.low, each.high
            assert seen.setdefault((each.partition, each.epoch), shape) == shape, each
    return ranges


@given(steps, keys)
def test_each_key_is_in_one_range_and_bisection_finds_it(
    todo: list[tuple[bool, str]], key: str
) -> None:
    ranges = made(todo)
    assert [each for each in ranges if each.holds(key)] == [ranges.find(key)]


@given(steps, keys, bounds, st.lists(keys, max_size=20))
def test_a_scan_sees_every_key_once(
    todo: list[tuple[bool, str]], low: str, high: str | None, stored: list[str]
) -> None:
    ranges = made(todo)
    found = []
    for part, first, last in ranges.within(low, high):
        assert part.low <= first and (part.high is None or (last is not None and last <= part.high))
        found += sorted(k for k in set(stored) if first <= k and (last is None or k < last))
    assert found == sorted(k for k in set(stored) if low <= k and (high is None or k < high))


@given(steps)
def test_the_parts_of_a_range_are_above_its_epoch(todo: list[tuple[bool, str]]) -> None:
    ranges = made(todo)
    for whole in ranges:
        at = whole.low + "m"
        if split_problem(whole, at):
            continue
        after = ranges.split(whole.partition, at, "new")
        left, right = after.find(whole.low), after.find(at)
        assert (left.epoch, right.epoch) == (whole.epoch + 1, whole.epoch + 1)
        again = after.merge(left.partition, right.partition).find(at)
        assert (again.low, again.high, again.epoch) == (whole.low, whole.high, whole.epoch + 2)


@pytest.mark.parametrize(
    ("ranges", "why"),
    [
        ([], "no range begins at ''"),
        ([("a", "", "m")], "no range begins at 'm'"),
        ([("a", "b", None)], "a begins at 'b', and '' was expected"),
        ([("a", "", "m"), ("b", "n", None)], "b begins at 'n', and 'm' was expected"),
        ([("a", "", "m"), ("b", "k", None)], "b begins at 'k', and 'm' was expected"),
        ([("a", "", None), ("b", "k", None)], "b begins at 'k', and None was expected"),
        ([("a", "", "m"), ("a", "m", None)], "a has two ranges"),
        ([("a", "", "")], "a ends at '', not above ''"),
    ],
)
def test_ranges_that_do_not_tile_are_refused(ranges: list[tuple[str, str, str]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        KeyRangePartitions(KeyRange(*each) for each in ranges)


def test_what_cannot_be_split_or_merged_is_named() -> None:
    ranges = KeyRangePartitions([KeyRange("a", "", "m"), KeyRange("b", "m", None)])
    for key in ("m", "z"):
        with pytest.raises(
            ValueError, match=f"a holds keys from '' to 'm': it is not cut at '{key}'"
        ):
            ranges.split("a", key, "c")
    with pytest.raises(ValueError, match="there is a partition 'b' already"):
        ranges.split("a", "c", "b")
    with pytest.raises(ValueError, match="there is no partition 'x'"):
        ranges.split("x", "c", "d")
    with pytest.raises(ValueError, match="they are no neighbours in this order"):
        ranges.merge("b", "a")
    assert merge_problem(ranges.named("a"), ranges.named("b")) == ""
