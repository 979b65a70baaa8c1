"""The agreement on views: one chain, whatever is lost and whoever proposes."""

from __future__ import annotations

import random

import pytest

from cluster.config import MS
from cluster.gossip.emergent_leader import (
    EmergentLeader,
    LeaderMemory,
    founding_view,
)
from cluster.wire import Message, RegisterAccepted, StableView

ROUND = 200 * MS


class Dice:
    """The Rng port from a seed."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)

    def between(self, low: int, high: int) -> int:
        return self._source.randint(low, high)


def leader(node: str, founders: tuple[str, ...], incarnation: int = 1) -> EmergentLeader:
    memory = LeaderMemory(founding_view(founders))
    return EmergentLeader(
        node, incarnation=incarnation, memory=memory, round_ns=ROUND, rng=Dice(incarnation)
    )


FIVE = ("n1", "n2", "n3", "n4", "n5")


def test_all_who_know_a_view_name_its_oldest_member() -> None:
    assert {leader(node, FIVE).leader for node in FIVE} == {"n1"}
    assert leader("n9", ()).leader == ""
    young = StableView(4, ("n3", "n1"))
    assert leader("n1", FIVE).succession.names(young) == "n3"


@pytest.mark.parametrize(
    ("members", "living", "enough"),
    [(5, 3, True), (5, 2, False), (4, 2, False), (4, 3, True), (2, 1, False), (1, 1, True)],
)
def test_a_leader_acts_with_a_majority_of_the_view_only(
    members: int, living: int, enough: bool
) -> None:
    names = tuple(f"n{number + 1}" for number in range(members))
    assert leader("n1", names).leads(names[:living]) is enough
    assert not leader("n2", names).leads(names)


def test_the_next_view_keeps_the_order_of_age_and_puts_the_new_behind() -> None:
    one = leader("n3", FIVE)
    old = StableView(7, ("n3", "n1", "n5"))
    following = one.succession.successor(old, ("n0", "n1", "n2", "n3"))
    assert following == StableView(8, ("n3", "n1", "n0", "n2"))
    assert one.succession.successor(old, ("n1", "n3", "n5")) is old


def test_nothing_is_proposed_before_the_sight_of_the_group_has_settled() -> None:
    one = leader("n1", FIVE)
    one.consider(0, FIVE)
    assert one.due_ns > 1 << 60
    one.consider(10, FIVE[:4])
    assert one.due_ns == 10 + 2 * ROUND
    one.consider(10 + ROUND, FIVE[:3])
    assert one.due_ns == 10 + 3 * ROUND and one.attempt is None
    one.consider(one.due_ns, FIVE[:3])
    assert one.attempt is not None


def test_a_minority_proposes_nothing() -> None:
    one = leader("n1", FIVE)
    one.consider(0, ("n1", "n2"))
    one.consider(one.due_ns, one._seen)
    assert one.attempt is None and one.take_messages() == []


class Net:
    """Parts of several nodes, whose messages arrive in any order, twice or never."""

    def __init__(self, seed: int, founders: tuple[str, ...]) -> None:
        self.dice = random.Random(seed)
        self.nodes = {node: leader(node, founders, number) for number, node in enumerate(founders)}
        self.memories = {node: part.remembered(0, None) for node, part in self.nodes.items()}
        self.flight: list[tuple[str, str, Message]] = []
        self.views: dict[int, tuple[str, ...]] = {}
        self.lives = 100
        self.now_ns = 0

    def gather(self, node: str) -> None:
        part = self.nodes[node]
        self.memories[node] = part.remembered(0, None)
        self.flight += [(node, to, message) for to, message, _ in part.take_messages()]
        known = self.views.setdefault(part.view.id, part.view.members)
        assert known == part.view.members, f"two views have number {part.view.id}"

    def step(self) -> None:
        kind = self.dice.random()
        node = self.dice.choice(sorted(self.nodes))
        part = self.nodes[node]
        if kind < 0.04:  # it sees some others, at random
            self.now_ns += ROUND
            living = tuple(each for each in FIVE if each == node or self.dice.random() < 0.7)
            part.consider(self.now_ns, living)
            part.consider(max(self.now_ns, min(part.due_ns, self.now_ns + 5 * ROUND)), living)
        elif kind < 0.05:  # it restarts from what is durable
            self.lives += 1
            self.nodes[node] = EmergentLeader(
                node, incarnation=self.lives, memory=self.memories[node], round_ns=ROUND,
                rng=Dice(self.lives),
            )  # fmt: skip
        elif self.flight:
            at = self.dice.randrange(len(self.flight))
            source, node, message = self.flight[at]
            if kind > 0.2:
                del self.flight[at]
            if kind > 0.9 or node not in self.nodes:
                return
            self.nodes[node].receive(self.now_ns, source, message)  # type: ignore[arg-type]
        self.gather(node)


@pytest.mark.parametrize("seed", range(12))
def test_views_are_one_chain(seed: int) -> None:
    net = Net(seed, FIVE)
    for _ in range(12_000):
        net.step()
    assert len(net.views) > 3, "nothing was agreed on"
    assert sorted(net.views) == list(range(1, len(net.views) + 1)), "a number was left out"


def test_a_view_that_was_accepted_and_told_to_nobody_is_finished_by_another() -> None:
    """Else its acceptors would consent to no act of the present view, and none would come."""
    parts = {node: leader(node, FIVE, number) for number, node in enumerate(FIVE)}
    now_ns = 0
    parts["n1"].consider(now_ns, FIVE[:4])
    parts["n1"].consider(parts["n1"].due_ns, parts["n1"]._seen)
    flight = [("n1", to, message) for to, message, _ in parts["n1"].take_messages()]
    while flight:
        source, to, message = flight.pop(0)
        if to != "n5" and not isinstance(message, RegisterAccepted):
            parts[to].receive(now_ns, source, message)  # type: ignore[arg-type]
            flight += [(to, other, said) for other, said, _ in parts[to].take_messages()]
    assert [parts[node].fence for node in FIVE] == [2, 2, 2, 2, 1]
    del parts["n1"]  # it stops here, and the others see nothing of that
    for _ in range(100):
        now_ns += ROUND
        for node, part in parts.items():
            part.consider(now_ns, FIVE)
            flight += [(node, to, message) for to, message, _ in part.take_messages()]
        while flight:
            source, to, message = flight.pop(0)
            if to in parts:
                parts[to].receive(now_ns, source, message)  # type: ignore[arg-type]
                flight += [(to, other, said) for other, said, _ in parts[to].take_messages()]
    assert {part.view for part in parts.values()} == {StableView(2, FIVE[:4])}


def test_a_member_that_accepted_a_successor_raises_its_fence() -> None:
    parts = {node: leader(node, FIVE, number) for number, node in enumerate(FIVE)}
    parts["n2"].consider(0, FIVE[1:])
    parts["n2"].consider(parts["n2"].due_ns, parts["n2"]._seen)
    flight = [("n2", to, message) for to, message, _ in parts["n2"].take_messages()]
    while flight:
        source, to, message = flight.pop(0)
        if to == "n1":
            continue
        parts[to].receive(0, source, message)  # type: ignore[arg-type]
        flight += [(to, other, said) for other, said, _ in parts[to].take_messages()]
    assert {parts[node].view for node in FIVE[1:]} == {StableView(2, FIVE[1:])}
    assert all(parts[node].fence == 2 for node in FIVE[1:])
    assert parts["n1"].view.id == 1 and parts["n2"].leads(FIVE[1:])
    parts["n2"].heard("n1", 1)
    assert parts["n2"].take_messages() == [("n1", StableView(2, FIVE[1:]), False)]
