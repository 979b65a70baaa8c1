"""Ownership: what a group does for whom, and commands that come again or too late."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.ablations.a37_stale_epoch_accepted import StaleEpochAccepted
from cluster.ablations.a48_cached_map_is_believed import CachedMapIsBelieved
from cluster.data.ownership import Ownership, is_refused


def holding(*epochs: int, of: type[Ownership] = Ownership) -> Ownership:
    owned = of()
    for epoch in epochs:
        assert owned.take("p", epoch, "ranges", "", None)
    return owned


def test_a_request_at_another_epoch_is_refused_and_a37_serves_it() -> None:
    assert holding(2).refusal("p", 2) == ""
    assert holding(2).refusal("p", 1) == "stale-epoch: p is at epoch 2, not 1"
    assert holding(2).refusal("p", 3) == "stale-epoch: p is at epoch 2, not 3"
    assert holding(2).refusal("q", 2) == "stale-epoch: q is not of this group at epoch 2"
    ablated = holding(1, of=StaleEpochAccepted)
    assert ablated.split("p", 1, "m", "q") == (True, "")
    assert ablated.refusal("p", 1) == ""  # although half of the keys are elsewhere


def test_a_refusal_is_of_one_epoch() -> None:
    owned = holding(5)
    for partition, epoch in (("p", 3), ("p", 15), ("q", 5)):
        error = owned.refusal(partition, epoch)
        assert is_refused(error, partition, epoch)
        others = [("p", 5), ("p", 3), ("p", 15), ("q", 5), ("q", 3)]
        assert [each for each in others if is_refused(error, *each)] == [(partition, epoch)]
    assert is_refused(owned.outside("p", "x 3") or owned.refusal("p", 4), "p", 4)


def test_a_frozen_partition_is_refused_and_a48_serves_it() -> None:
    for part, refusal in ((Ownership, "frozen: p moves to another group"),
                          (CachedMapIsBelieved, "")):  # fmt: skip
        owned = holding(1, of=part)
        assert owned.freeze("p", 1) == "" == owned.freeze("p", 1)
        assert owned.refusal("p", 1) == refusal
        assert owned.drop("p", 1) and not owned.drop("p", 1)
        assert owned.refusal("p", 1).startswith("stale-epoch")


def test_what_was_given_up_is_not_taken_again_at_its_epoch() -> None:
    owned = holding(3)
    assert owned.drop("p", 3)
    assert not owned.take("p", 3, "ranges", "", None) and not owned.take("p", 1, "ranges", "", None)
    assert "p" not in owned.held
    assert owned.take("p", 5, "ranges", "", None)
    assert not owned.drop("p", 4)  # a copy that comes late
    assert owned.held["p"].epoch == 5


def test_a_drop_before_the_adoption_it_is_for_keeps_it_out() -> None:
    owned = Ownership()
    assert not owned.drop("p", 2)
    assert not owned.take("p", 2, "slots", 0, 1)


def test_only_what_is_frozen_is_given_away() -> None:
    owned = holding(1)
    assert owned.export_refusal("p", 1) == "p is not frozen at epoch 1"
    assert owned.freeze("p", 2).startswith("stale-epoch")
    owned.freeze("p", 1)
    assert owned.export_refusal("p", 1) == ""
    assert owned.export_refusal("p", 2) == "stale-epoch: p is at epoch 1 and frozen, not 2"
    assert owned.export_refusal("q", 1).startswith("stale-epoch")


def test_split_and_merge_may_come_again() -> None:
    owned = holding(1)
    assert owned.split("p", 1, "m", "q") == (True, "")
    assert owned.split("p", 1, "m", "q") == (False, "")
    assert owned.split("p", 1, "c", "r")[1].startswith("stale-epoch")
    assert (owned.held["p"].high, owned.held["q"].low) == ("m", "m")
    assert owned.outside("p", "m") == "stale-epoch: p holds no key 'm' at epoch 2"
    assert owned.outside("q", "m") == ""
    assert owned.merge("p", 2, "q", 2) == (True, "")
    assert owned.merge("p", 2, "q", 2) == (False, "")
    assert owned.held["p"].epoch == 3 and "q" not in owned.held
    assert not owned.take("q", 2, "ranges", "m", None)


@pytest.mark.parametrize(
    ("scheme", "at", "right", "why"),
    [
        ("slots", "m", "q", "p is a fixed partition: it stays whole"),
        ("ranges", "", "q", "it is not cut at ''"),
        ("ranges", "m", "p", "p was a partition of this group before"),
    ],
)
def test_a_split_that_cannot_be_is_refused(scheme: str, at: str, right: str, why: str) -> None:
    owned = Ownership()
    low, high = ("", None) if scheme == "ranges" else (0, 1)
    owned.take("p", 1, scheme, low, high)
    done, said = owned.split("p", 1, at, right)
    assert not done and why in said


def test_a_merge_that_cannot_be_is_refused() -> None:
    owned = holding(1)
    owned.split("p", 1, "m", "q")
    assert "no neighbours in this order" in owned.merge("q", 2, "p", 2)[1]
    assert owned.merge("p", 2, "q", 1)[1] == "stale-epoch: q is at epoch 2, not 1"
    owned.freeze("q", 2)
    assert owned.merge("p", 2, "q", 2)[1] == "stale-epoch: q is at epoch 2 and frozen, not 2"


names, epochs = st.sampled_from(["p", "q"]), st.integers(1, 5)
commands = st.one_of(
    st.tuples(st.just("take"), names, epochs, st.just("ranges"), st.just(""), st.none()),
    st.tuples(st.just("freeze"), names, epochs),
    st.tuples(st.just("drop"), names, epochs),
    st.tuples(st.just("split"), names, epochs, st.sampled_from("am"), st.sampled_from("rs")),
)


@given(st.lists(commands, max_size=15))
def test_epochs_only_grow_and_a_snapshot_is_the_same(todo: list[tuple[str, ...]]) -> None:
    owned = Ownership()
    highest: dict[str, int] = {}
    frozen: set[tuple[str, int]] = set()
    for name, *args in todo:
        getattr(owned, name)(*args)
        for partition, held in owned.held.items():
            assert held.epoch >= highest.get(partition, 0), "the epoch went back"
            assert held.epoch > owned.given_up.get(partition, 0), "taken again at its epoch"
            assert held.frozen or (partition, held.epoch) not in frozen, "thawed"
            highest[partition] = held.epoch
            frozen |= {(partition, held.epoch)} if held.frozen else set()
    copy = Ownership()
    copy.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(owned.encode())))
    assert (copy.held, copy.given_up) == (owned.held, owned.given_up)
