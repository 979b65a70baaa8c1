"""Versioned Value: against a twin that keeps a whole copy of the state for every revision."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.data.versioned_value import Compacted, FutureRevision, VersionedValues

KEYS = ("a", "b", "c")


class Twin:
    """The slow obvious one: states[r] is everything as of revision r."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = [{}]
        self.changed: list[tuple[int, str]] = []

    def step(self, changes: dict[str, Any]) -> None:
        state = copy.deepcopy(self.states[-1])
        for key, value in sorted(changes.items()):
            if value is not None or key in state:
                self.changed.append((len(self.states), key))
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        self.states.append(state)


ONE = st.tuples(st.sampled_from(("put", "append", "remove")), st.sampled_from(KEYS))
STEP = st.tuples(st.sampled_from(("keep", "undo")), st.lists(ONE, min_size=1, max_size=4))


def carry_out(store: VersionedValues, revision: int, ops: list[tuple[str, str]]) -> dict[str, Any]:
    """The values of the keys that were changed, afterwards."""
    changed: dict[str, Any] = {}
    for op, key in ops:
        old = store.latest(key)
        if op == "remove":
            if store.remove(revision, key):
                changed[key] = None
        elif op == "append" and old is not None and old.length >= 0:
            changed[key] = store.append(revision, key, revision).value
        elif op == "append":
            changed[key] = store.put(revision, key, [revision]).value
        else:
            changed[key] = store.put(revision, key, revision).value
    return changed


def same(store: VersionedValues, twin: Twin) -> None:
    assert len(store) == len(twin.states[-1])
    for revision in range(store.floor, len(twin.states)):
        for key in KEYS:
            found = store.at(key, revision)
            assert (None if found is None else found.value) == twin.states[revision].get(key)
    after = [(revision, key) for revision, key in twin.changed if revision > store.floor]
    assert [(v.revision, key) for key, v in store.changes(store.floor)] == after


@given(st.lists(STEP, max_size=25), st.lists(st.integers(0, 25), max_size=3))
def test_every_revision_reads_as_it_was(
    steps: list[tuple[str, list[tuple[str, str]]]], floors: list[int]
) -> None:
    store, twin = VersionedValues(), Twin()
    for fate, ops in steps:
        revision = len(twin.states)
        store.reach(revision)
        store.begin()
        changed = carry_out(store, revision, ops)
        if fate == "keep":
            assert store.commit() == sorted(changed)
            assert list(store.changes(revision)) == []
            twin.step(changed)
        else:
            assert sorted(store.undo()) == sorted(changed)
            twin.step({})
        same(store, twin)
    for floor in floors:
        store.compact(min(floor, len(twin.states) - 1))
        same(store, twin)
        blob = msgspec.msgpack.encode(store.encode())
        again = VersionedValues()
        again.restore(msgspec.msgpack.decode(blob, strict=True))
        again.reach(len(twin.states) - 1)
        same(again, twin)
        assert msgspec.msgpack.encode(again.encode()) == blob


def test_a_read_below_the_floor_is_refused() -> None:
    store = VersionedValues()
    for revision in (1, 2, 3):
        store.put(revision, "a", revision)
    store.compact(2)
    assert [store.at("a", revision).value for revision in (2, 3)] == [2, 3]  # type: ignore[union-attr]
    with pytest.raises(Compacted, match="revision 1 is compacted; the oldest one left is 2"):
        store.at("a", 1)
    with pytest.raises(Compacted):
        list(store.changes(1))


def test_a_read_above_what_is_reached_is_refused() -> None:
    store = VersionedValues()
    store.put(1, "a", "x")
    with pytest.raises(FutureRevision, match="revision 2 is not reached yet; the newest one is 1"):
        store.at("a", 2)
    store.reach(5)
    assert store.at("a", 5).value == "x"  # type: ignore[union-attr]
    store.reach(4)
    assert store.reached == 5, "it never goes back"


def test_a_version_number_begins_anew_after_a_deletion() -> None:
    store = VersionedValues()
    assert store.put(1, "a", "x").number == 1
    assert (store.put(2, "a", "y").number, store.put(3, "a", "z").created) == (2, 1)
    assert store.remove(4, "a") and not store.remove(5, "a")
    again = store.put(6, "a", "w")
    assert (again.number, again.created) == (1, 6)


def test_appends_share_one_list() -> None:
    store = VersionedValues()
    store.put(1, "a", [1])
    versions = [store.append(revision, "a", revision) for revision in range(2, 1000)]
    assert len({id(version.data) for version in versions}) == 1
    assert versions[10].value == list(range(1, 13))
    assert len(msgspec.msgpack.encode(store.encode())) < 30_000


def test_a_deleted_key_is_forgotten_once_compacted() -> None:
    store = VersionedValues()
    store.put(1, "a", 1)
    store.remove(2, "a")
    store.put(3, "b", 1)
    assert list(store.keys("", None)) == ["a", "b"]
    store.compact(3)
    assert list(store.keys("", None)) == ["b"] and len(store) == 1


def test_keys_are_ranged_in_order() -> None:
    store = VersionedValues()
    for number, key in enumerate(("b", "a", "ab", "c"), 1):
        store.put(number, key, number)
    assert list(store.keys("a", "b")) == ["a", "ab"]
    assert list(store.keys("ab", None)) == ["ab", "b", "c"]


def test_versions_of_lists_and_of_other_values_survive_a_snapshot_and_go_on() -> None:
    values = VersionedValues()
    values.put(1, "a", "plain")
    values.put(2, "b", [1])
    values.append(3, "b", 2)
    values.put(4, "b", "plain now")
    values.put(5, "c", {"n": 1})
    values.put(6, "d", [])
    again = VersionedValues()
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(values.encode())))
    for each in (values, again):
        each.append(7, "d", "x")
        each.put(8, "a", ["y"])
        each.append(9, "a", "z")
        found = [each.at(key, n) for key, n in (("b", 2), ("d", 6), ("d", 7), ("a", 1), ("a", 8))]
        expected = [[1], [], ["x"], "plain", ["y"]]
        assert [version and version.value for version in found] == expected
    assert msgspec.msgpack.encode(again.encode()) == msgspec.msgpack.encode(values.encode())


def test_a_key_that_went_and_came_again_is_compacted_as_two() -> None:
    """Its first versions are gone before the change that made the key anew is looked at."""
    store = VersionedValues()
    store.put(1, "a", 1)
    store.remove(2, "a")
    store.put(3, "b", 3)
    store.compact(2)
    assert list(store.keys("", None)) == ["b"]
    store.put(4, "a", 4)
    store.put(5, "a", 5)
    assert [(key, version.value) for key, version in store.changes(2)] == [
        ("b", 3), ("a", 4), ("a", 5),
    ]  # fmt: skip
    store.compact(4)
    assert [(key, version.value) for key, version in store.changes(4)] == [("a", 5)]
    assert (store.at("a", 4) or store.newest) != store.newest and store.at("b", 5) is not None


def test_a_hot_key_is_compacted_in_one_step_however_many_versions_it_has() -> None:
    store = VersionedValues()
    for revision in range(1, 2_001):
        store.put(revision, "hot", revision)
    store.compact(1_990)
    assert [version.value for _, version in store.changes(1_990)] == list(range(1_991, 2_001))
    found = store.at("hot", 1_990)
    assert found is not None and found.value == 1_990
    assert len(store.encode()[2][0][1]) == 11, "the visible one and the ten above it"
