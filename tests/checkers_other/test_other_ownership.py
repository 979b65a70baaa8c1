"""Goal: two owners of a partition at once are found in what clients were told, and nothing else is.

Method: literal histories, one for each finding and each excuse.
"""

from __future__ import annotations

import pytest
from other_histories import h, invalid, unchallenged, unknown, valid

from checkers.judges.ownership import ownership

check = ownership()


def act(process: int, key: str, epoch: int, count: int, group: str, partition: str = "p") -> str:
    said = {"partition": partition, "epoch": epoch, "group": group, "count": count}
    return f"op {process} act {key}: -> {said}"


def begun(process: int, key: str) -> str:
    return f"{process} act {key}:"


def done(process: int, epoch: int, count: int, group: str, partition: str = "p") -> str:
    said = {"partition": partition, "epoch": epoch, "group": group, "count": count}
    return f"{process} ok {said}"


def test_a_partition_that_changes_hands_in_order_is_valid() -> None:
    moved = h(act(0, "a", 1, 1, "g"), act(1, "a", 1, 2, "g"), act(0, "a", 2, 3, "h"))
    found = check(moved)
    valid(found)
    assert found.stats["changes"] == 1 and "2 owners" in found.reason
    unchallenged(check(h(act(0, "a", 1, 1, "g"))), "fewer than two acts")


def test_two_groups_at_one_epoch() -> None:
    history = h(begun(0, "a"), begun(1, "b"), done(0, 1, 1, "g"), done(1, 1, 1, "h"))
    found = check(history)
    invalid(found, "two-owners", history=history)
    assert found.findings[0].sentence == (
        "Group g acted for partition p at epoch 1 for process 0 at 0.002 s, and group h acted for "
        "it at the same epoch for process 1 at 0.003 s, while that was under way."
    )
    # One key may not be in two partitions of one epoch either.
    other = h(act(0, "a", 1, 1, "g"), act(1, "a", 1, 2, "h", "q"))
    invalid(check(other), "two-owners", history=other)


def test_an_epoch_that_goes_back() -> None:
    history = h(act(0, "a", 2, 1, "h"), act(1, "a", 1, 2, "g"))
    found = check(history)
    invalid(found, "stale-token-accepted", history=history)
    assert "although an act with epoch 2 had been accepted" in found.findings[0].sentence
    assert found.findings[0].sentence.endswith(
        "The owners were h (of p, epoch 2) and g (of p, epoch 1)."
    )
    assert found.findings[0].title == "an act with a stale epoch was accepted"


def test_an_epoch_of_a_partition_goes_back_between_two_keys() -> None:
    history = h(act(0, "a", 2, 1, "h"), act(1, "b", 1, 1, "g"))
    found = check(history)
    invalid(found, "stale-token-accepted", history=history)
    assert found.findings[0].key == "b"
    # Another partition has epochs of its own.
    valid(check(h(act(0, "a", 2, 1, "h"), act(1, "b", 1, 1, "g", "q"))))


def test_acts_that_overlap_may_have_happened_in_the_order_of_their_epochs() -> None:
    valid(check(h(begun(0, "a"), act(1, "a", 2, 2, "h"), done(0, 1, 1, "g"))))


def test_two_owners_that_act_at_once_count_alike() -> None:
    history = h(begun(0, "a"), begun(1, "a"), done(0, 1, 5, "g"), done(1, 2, 5, "h"))
    found = check(history)
    invalid(found, "duplicate-token", history=history)
    assert found.findings[0].title == "the numbers of acts do not grow"
    assert "with the same number" in found.findings[0].sentence


def test_an_owner_that_counts_on_after_the_next_has_begun() -> None:
    """Numbers that are not in the order of epochs, although all acts overlap and none is twice."""
    history = h(begun(0, "a"), begun(1, "a"), done(0, 1, 7, "g"), done(1, 2, 5, "h"))
    found = check(history)
    invalid(found, "owner-went-on", history=history)
    assert "at the epoch 1 before it with the larger number 7" in found.findings[0].sentence


def test_an_act_that_was_lost_in_a_move_shows_as_a_number_that_goes_back() -> None:
    history = h(act(0, "a", 1, 1, "g"), act(0, "a", 1, 2, "g"), act(1, "a", 2, 2, "h"))
    invalid(check(history), "duplicate-token", history=history)
    back = h(act(0, "a", 1, 3, "g"), act(1, "a", 2, 1, "h"))
    invalid(check(back), "token-backwards", history=back)


def test_acts_of_unknown_outcome_and_failed_ones_prove_nothing() -> None:
    open_acts = h(act(0, "a", 1, 1, "g"), "op 1 act a: -> info", "op 2 act a: -> fail")
    valid(check(h(*[act(0, "a", 1, 1, "g"), "op 1 act a: -> info", act(0, "a", 1, 3, "g")])))
    unchallenged(check(open_acts), "fewer than two acts")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("{'epoch': 1, 'group': 'g', 'count': 1}", "an act must say partition, epoch, group"),
        ("7", "an act must say partition, epoch, group, count"),
        ("{'partition': 'p', 'epoch': 'x', 'group': 'g', 'count': 1}", "an epoch must be a finite"),
        ("{'partition': [1], 'epoch': 1, 'group': 'g', 'count': 1}", "the partition is"),
    ],
)
def test_an_act_that_does_not_say_whose_it_is_is_refused(said: str, why: str) -> None:
    unknown(check(h(f"op 0 act a: -> {said}")), why)
