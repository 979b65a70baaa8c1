"""Sorted Keys: against a list that is sorted anew each time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.data.sorted_keys import _MERGE_FACTOR, SortedKeys

KEY = st.text("abc", max_size=3)
STEP = st.one_of(
    st.tuples(st.just("toggle"), KEY, KEY),
    st.tuples(st.just("between"), KEY, st.none() | KEY),
    st.tuples(st.just("middle"), KEY, KEY),
    st.tuples(st.just("cut and join"), KEY, KEY),
)


@given(st.sets(KEY), st.lists(STEP, max_size=40))
def test_the_order_is_that_of_a_sorted_list(
    first: set[str], steps: list[tuple[str, str, str | None]]
) -> None:
    keys, twin = SortedKeys(first), set(first)
    for word, key, end in steps:
        if word == "between":
            expected = sorted(k for k in twin if key <= k and (end is None or k < end))
            assert keys.between(key, end) == expected
        elif word == "middle":
            expected = sorted(twin)
            assert keys.middle() == (expected[len(twin) // 2] if len(twin) > 1 else None)
        elif word == "cut and join":
            right = keys.cut(key)
            assert list(right) == sorted(k for k in twin if k >= key)
            assert list(keys) == sorted(k for k in twin if k < key)
            keys.join(right)
        elif key in twin:
            keys.remove(key)
            twin.remove(key)
        else:
            keys.add(key)
            twin.add(key)
    assert keys.between("", None) == sorted(twin)


@pytest.mark.parametrize("fresh", [1, 3, 400])
def test_few_new_keys_and_many_find_their_places(fresh: int) -> None:
    """One by one if the others are many times as many, else in one merge."""
    old = [f"{number:05}" for number in range(0, 4 * _MERGE_FACTOR, 2)]
    new = [f"{number:05}" for number in range(2 * fresh - 1, 0, -2)]
    keys = SortedKeys(old)
    for key in new:
        keys.add(key)
    assert keys.between("", None) == sorted(old + new)
    for key in new:
        keys.remove(key)
    assert keys.between("", None) == old


def test_what_is_joined_is_above() -> None:
    keys = SortedKeys("bc")
    with pytest.raises(AssertionError, match="is not above"):
        keys.join(SortedKeys("ad"))
