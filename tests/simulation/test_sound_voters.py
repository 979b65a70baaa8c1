"""Which damage leaves every configuration a majority of sound disks."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.simulation.sound_voters import majority_stays, voter_sets


def test_a_status_names_the_voters_of_the_node_and_of_its_groups() -> None:
    row = {"group": "g", "members": ["n2", "n3"], "outgoing": ["n1"]}
    status = {"members": ["n1", "n2"], "outgoing": [], "groups": [row, row]}
    assert voter_sets(status) == [
        frozenset(("n1", "n2")),
        frozenset(("n2", "n3")),
        frozenset({"n1"}),
    ]


@pytest.mark.parametrize(
    "status", [{}, {"members": None}, {"members": [{"name": "n1"}]}, {"groups": 5}, {"members": []}]
)
def test_a_status_of_another_make_names_none(status: dict[str, Any]) -> None:
    assert voter_sets(status) == []


@pytest.mark.parametrize(
    ("damaged", "voters", "leaving", "stays"),
    [
        ({"a"}, "abc", "", True),
        ({"a", "b"}, "abc", "", False),
        ({"a"}, "ab", "", False),  # one of two is no majority
        ({"a"}, "abc", "c", False),
        ({"a"}, "abc", "a", True),
        ({"d", "e"}, "abc", "", True),
        (set(), "", "", True),
    ],
)
def test_each_set_keeps_a_majority_with_and_without_those_that_leave(
    damaged: set[str], voters: str, leaving: str, stays: bool
) -> None:
    assert majority_stays(damaged, [set(voters)], leaving) is stays
