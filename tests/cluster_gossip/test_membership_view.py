"""The membership view: merging is a join, whatever the order, the repetitions and the grouping."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gossip.membership_view import ALIVE, DEAD, LEFT, SUSPECT, MembershipView
from cluster.wire import MemberRecord

records = st.builds(
    MemberRecord,
    node=st.sampled_from(["n1", "n2", "n3", "n4"]),
    incarnation=st.integers(0, 3),
    state=st.sampled_from([ALIVE, SUSPECT, DEAD, LEFT]),
)
lists = st.lists(records, max_size=12)


def view_of(*parts: Sequence[MemberRecord]) -> MembershipView:
    view = MembershipView()
    for part in parts:
        for record in part:
            view.merge(record)
    return view


def same(one: MembershipView, other: MembershipView) -> bool:
    assert (list(one) == list(other)) == (one.digest == other.digest)
    return list(one) == list(other)


@given(lists, lists)
def test_merging_is_commutative(a: list[MemberRecord], b: list[MemberRecord]) -> None:
    assert same(view_of(a, b), view_of(b, a))


@given(lists, lists, lists)
def test_merging_is_associative(
    a: list[MemberRecord], b: list[MemberRecord], c: list[MemberRecord]
) -> None:
    left = view_of(list(view_of(a, b)), c)
    right = view_of(a, list(view_of(b, c)))
    assert same(left, right)


@given(lists)
def test_merging_is_idempotent(a: list[MemberRecord]) -> None:
    view = view_of(a)
    digest = view.digest
    assert not any(view.merge(record) for record in [*a, *view])
    assert view.digest == digest


@given(st.data(), lists)
def test_the_order_of_messages_does_not_matter(data: st.DataObject, a: list[MemberRecord]) -> None:
    shuffled = data.draw(st.permutations(a))
    repeated = data.draw(st.lists(st.sampled_from(a), max_size=5)) if a else []
    assert same(view_of(a), view_of(shuffled, repeated))


@given(lists)
def test_what_is_said_is_news_exactly_if_it_changes_the_view(a: list[MemberRecord]) -> None:
    view = MembershipView()
    for record in a:
        before, living = list(view), view.living
        assert view.merge(record) == (list(view) != before)
        if list(view) == before:
            assert view.living is living


@given(lists, records)
def test_a_record_is_never_replaced_by_a_lesser_one(
    a: list[MemberRecord], last: MemberRecord
) -> None:
    view = view_of(a)
    before = view.get(last.node)
    view.merge(last)
    after = view.get(last.node)
    assert after is not None
    assert (after.incarnation, after.state) >= (last.incarnation, last.state)
    assert before is None or (after.incarnation, after.state) >= (before.incarnation, before.state)


@pytest.mark.parametrize(
    ("first", "then", "wins"),
    [
        (MemberRecord("n", 1, ALIVE), MemberRecord("n", 1, SUSPECT), True),
        (MemberRecord("n", 1, SUSPECT), MemberRecord("n", 1, ALIVE), False),
        (MemberRecord("n", 1, DEAD), MemberRecord("n", 2, ALIVE), True),
        (MemberRecord("n", 2, ALIVE), MemberRecord("n", 1, DEAD), False),
        (MemberRecord("n", 1, DEAD), MemberRecord("n", 1, LEFT), True),
        (MemberRecord("n", 1, LEFT), MemberRecord("n", 2, ALIVE), True),
    ],
)
def test_only_a_higher_incarnation_contradicts(
    first: MemberRecord, then: MemberRecord, wins: bool
) -> None:
    assert view_of([first]).merge(then) is wins


def test_suspects_live_and_the_dead_are_present_until_they_say_good_bye() -> None:
    states = [ALIVE, SUSPECT, DEAD, LEFT]
    view = view_of([MemberRecord(f"n{state}", 1, state) for state in states])
    assert view.living == ("n0", "n1")
    assert view.present == ("n0", "n1", "n2")
    assert [view.count(state) for state in states] == [1, 1, 1, 1]
    assert [record.node for record in view.between("n0", "n2")] == ["n1", "n2"]
