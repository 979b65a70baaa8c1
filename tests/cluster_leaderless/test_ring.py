"""Goal: while members change, a quorum meets every quorum that was acknowledged before.

Method: the rules by themselves, for all placements of small rings; and nodes in the pump, of which
one joins, leaves, is refused, or gives keys away.
"""

from __future__ import annotations

import itertools

import pytest

from cluster.leaderless.handover import Fetching, GivingAway, may_miss, page_for
from cluster.leaderless.ring import Ring, RingFence, is_quorum
from cluster.leaderless.ring_changes import RingChanges, is_retired
from cluster.leaderless.ring_requests import RingRequests, Waiting, ring_problem
from cluster.wire import Command, StableView

THREE, FOUR = ("n1", "n2", "n3"), ("n1", "n2", "n3", "n4")
KEYS = [f"v:key{number}" for number in range(40)]


def ring(view: StableView) -> Ring:
    return Ring(view, replicas=3)


@pytest.mark.parametrize(
    ("before", "after"),
    [(THREE, FOUR), (FOUR, THREE), (FOUR, ("n1", "n2", "n3", "n5")), (("n1", "n2"), THREE)],
)
def test_a_joint_quorum_meets_every_quorum_of_the_rings_beside_it(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    old, new = ring(StableView(1, before)), ring(StableView(3, after))
    joint = ring(StableView(2, after, before))
    for key in KEYS:
        assert joint.halves(key) == (*old.halves(key), *new.halves(key))
        nodes = joint.replicas(key)
        assert set(nodes) == {*old.replicas(key), *new.replicas(key)}
        sets = [set(each) for n in range(5) for each in itertools.combinations(nodes, n)]
        quorums = [each for each in sets if is_quorum(joint.halves(key), each, 2)]
        for beside in (old, new):
            others = [each for each in sets if is_quorum(beside.halves(key), each, 2)]
            assert quorums and others
            assert all(one & other for one in quorums for other in others)


def test_who_gains_keys_is_who_becomes_a_replica() -> None:
    joins = ring(StableView(2, FOUR, THREE))
    assert joins.gainers() == ("n4",)
    for key in KEYS:
        gains = [node for node in FOUR if joins.gains(key, node)]
        assert gains == [n for n in joins.halves(key)[1] if n not in joins.halves(key)[0]]
    leaves = ring(StableView(4, THREE, FOUR))
    assert leaves.gainers() == THREE
    assert any(leaves.gains(key, "n1") for key in KEYS)
    assert not any(ring(StableView(3, FOUR)).gains(key, "n4") for key in KEYS), "it is settled"
    fewer = ring(StableView(4, ("n1", "n2"), THREE))
    assert all(fewer.gains(key, "n1") for key in KEYS), "of fewer replicas each must have it"


def test_hints_are_kept_by_those_behind_the_replicas() -> None:
    joint = ring(StableView(2, FOUR, THREE))
    for key in KEYS:
        assert joint.preference(key)[: len(joint.replicas(key))] == joint.replicas(key)
        assert sorted(joint.preference(key)) == sorted(FOUR)


def test_only_messages_of_the_same_ring_are_taken() -> None:
    fence = RingFence()
    assert fence.takes(3, 3) and not fence.takes(2, 3) and not fence.takes(4, 3)


# -- the next ring


def changes() -> RingChanges:
    return RingChanges(wish_ns=100)


def test_a_node_that_lives_joins_in_two_steps() -> None:
    rules, settled = changes(), StableView(1, THREE)
    assert rules.successor(settled, THREE) is settled
    joint = rules.successor(settled, FOUR)
    assert joint == StableView(2, FOUR, THREE)
    assert rules.voters(joint, FOUR) == THREE, "those before decide what follows"
    assert rules.successor(joint, FOUR) is joint, "n4 has nothing yet"
    assert rules.handed_over(2, "n4") and not rules.handed_over(2, "n4")
    assert rules.successor(joint, FOUR) == StableView(3, FOUR)


def test_reports_of_another_change_do_not_count() -> None:
    rules = changes()
    rules.handed_over(2, "n4")
    later = StableView(4, FOUR, THREE)
    assert rules.successor(later, FOUR) is later


def test_a_change_is_given_up_if_the_one_that_joins_is_dead_or_shall_leave() -> None:
    rules, joint = changes(), StableView(2, FOUR, THREE)
    assert rules.successor(joint, THREE) == StableView(3, THREE), "it may come back"
    rules.wish(0, "n4")
    assert rules.successor(joint, FOUR) == StableView(3, THREE, (), ("n4",)), "for good"


def test_a_member_leaves_dead_or_alive_and_its_id_never_comes_back() -> None:
    rules, settled = changes(), StableView(3, FOUR)
    assert rules.wish(0, "n2") and not rules.wish(5, "n2")
    joint = rules.successor(settled, ("n1", "n3", "n4"))
    assert joint == StableView(4, ("n1", "n3", "n4"), FOUR)
    for node in ("n1", "n3"):
        rules.handed_over(4, node)
    assert rules.successor(joint, FOUR) is joint, "n4 gains keys too"
    rules.handed_over(4, "n4")
    after = rules.successor(joint, FOUR)
    assert after == StableView(5, ("n1", "n3", "n4"), (), ("n2",))
    assert is_retired(after, "n2") and not is_retired(after, "n2~2")
    rules.forget(1_000)
    assert rules.successor(after, FOUR) is after, "n2 lives, and has left"
    again = ("n1", "n2~2", "n3", "n4")
    assert rules.successor(after, again) == StableView(
        6, ("n1", "n3", "n4", "n2~2"), ("n1", "n3", "n4"), ("n2",)
    )


def test_a_member_whose_node_came_back_under_another_id_leaves() -> None:
    living = ("n1", "n2~2", "n3")
    left = changes().successor(StableView(1, THREE), living)
    assert left == StableView(2, ("n1", "n3"), THREE)


FIVE = ("n1", "n2", "n3", "n4", "n5")


def test_a_change_waits_for_one_that_is_away_until_that_one_shall_leave_as_well() -> None:
    rules, settled = changes(), StableView(1, FIVE)
    rules.wish(0, "n1")
    joint = rules.successor(settled, FIVE)
    assert joint == StableView(2, FIVE[1:], FIVE)
    for node in ("n2", "n3", "n4"):
        rules.handed_over(2, node)
    assert rules.awaited(joint) == ("n5",) and rules.awaited(settled) == ()
    living = ("n1", "n2", "n3", "n4")
    assert rules.successor(joint, living) is joint, "it may be back in a second"
    rules.wish(0, "n5")
    assert rules.successor(joint, FIVE) is joint, "it is back, and may hand over, and then leave"
    again = rules.successor(joint, living)
    assert again == StableView(3, FIVE), "as before, and no id has left"
    first = rules.successor(again, living)
    assert first == StableView(4, living, FIVE), "n5 leaves first: n1 lives, and can gain keys"
    for node in living:
        rules.handed_over(4, node)
    without = rules.successor(first, living)
    assert without == StableView(5, living, (), ("n5",))
    assert rules.successor(without, living).members == ("n2", "n3", "n4"), "n1 shall leave still"


def test_one_that_has_its_keys_and_is_away_holds_up_nothing() -> None:
    rules, joint = changes(), StableView(2, FIVE[1:], FIVE)
    for node in FIVE[1:]:
        rules.handed_over(2, node)
    rules.wish(0, "n5")
    assert rules.successor(joint, FIVE[:4]) == StableView(3, FIVE[1:], (), ("n1",))


def test_those_that_are_away_and_shall_leave_do_so_together() -> None:
    rules, settled = changes(), StableView(1, FIVE)
    for node in ("n1", "n3", "n5"):
        rules.wish(0, node)
    living = ("n2", "n3", "n4")
    assert rules.successor(settled, living) == StableView(2, living, FIVE)
    back = ("n1~2", "n2", "n3~2", "n4")
    left = changes().successor(StableView(1, FOUR), back)
    assert left == StableView(2, ("n2", "n4"), FOUR), "each would wait for the other"
    assert len(changes().successor(StableView(1, ("n1", "n2")), ("n1~2", "n2~2")).members) == 1


def test_the_last_member_stays_and_wishes_are_forgotten() -> None:
    rules, alone = changes(), StableView(9, ("n1",))
    rules.wish(0, "n1")
    assert rules.successor(alone, ("n1",)) is alone
    rules.wish(0, "n2")
    rules.forget(100)
    settled = StableView(1, THREE)
    assert rules.successor(settled, THREE) is settled


# -- keys on their way


def test_fewer_than_a_quorum_may_be_missed_if_they_are_away() -> None:
    joint = ring(StableView(2, FOUR, THREE))
    allowed = may_miss(joint, replicas=3, read_quorum=2, write_quorum=2)
    assert allowed == 1
    assert may_miss(joint, replicas=3, read_quorum=1, write_quorum=3) == 0
    fetching = Fetching(joint, "n4", may_miss=allowed)
    assert sorted(fetching.cursors) == list(THREE)
    nobody, everybody = (lambda node: False), (lambda node: True)
    assert not fetching.has_all(nobody)
    fetching.arrived("n1", ["v:a"], last=False)
    assert fetching.is_next("n1", "v:a") and not fetching.is_next("n1", "")
    for source in ("n1", "n2"):
        fetching.arrived(source, [], last=True)
    assert fetching.has_all(nobody) and not fetching.has_all(everybody), "n3 lives: wait for it"
    assert not fetching.is_next("n1", "v:a"), "it has sent everything"
    assert Fetching(joint, "n1", may_miss=1).has_all(everybody), "n1 gains nothing"


def test_pages_are_in_order_and_bounded() -> None:
    joint = ring(StableView(2, FOUR, THREE))
    keys = sorted(f"v:{number:04}" for number in range(400))
    owed = [key for key in keys if joint.gains(key, "n4")]
    got: list[str] = []
    last = False
    while not last:
        page, last = page_for("n4", joint, keys, got[-1] if got else "", lambda key: 10_000)
        assert page and len(page) * 10_000 <= 256 * 1024 + 10_000
        got += page
    assert got == owed


def test_a_key_is_given_away_until_its_replicas_answered() -> None:
    settled, giving, ids = ring(StableView(3, FOUR)), GivingAway(), itertools.count(1)
    key = next(key for key in KEYS if "n1" not in settled.replicas(key))
    asked = giving.ask([key], settled, lambda: next(ids))
    assert [node for _, _, node in asked] == list(settled.replicas(key))
    assert giving.arrived(asked[0][0]) == key and giving.arrived(77) == ""
    assert giving.have(key) == (asked[0][2],)
    again = giving.ask([key], settled, lambda: next(ids))
    assert [node for _, _, node in again] == list(settled.replicas(key))[1:]
    assert giving.arrived(asked[1][0]) == "", "it was asked anew, under another number"
    giving.forgotten(key)
    assert giving.have(key) == () and giving.arrived(again[0][0]) == key


# -- requests


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (Command("members", ""), ""),
        (Command("members", "n1"), "takes no member"),
        (Command("remove-member", "n1"), ""),
        (Command("remove-member", ""), "must not be empty"),
        (Command("remove-member", "n1", ("x",)), "takes no arguments"),
        (Command("join", "n1"), ""),
        (Command("join", "n1", ("n4",)), ""),
        (Command("join", "n1", (4,)), "takes the member to be asked"),
        (Command("join", "n1", ("n4~1",)), "neither a node's name"),
    ],
)
def test_requests_that_make_no_sense_are_refused_in_a_sentence(command: Command, said: str) -> None:
    assert (said in ring_problem(command)) if said else ring_problem(command) == ""


def test_clients_wait_for_a_settled_ring() -> None:
    from cluster.channel.request_waiting_list import Waiter

    requests = RingRequests()
    requests.add(Waiting(Waiter(1, 1, 50), "join", "n4", "n1"))
    requests.add(Waiting(Waiter(2, 2, 90), "remove-member", "n2"))
    assert requests.seeds() == ["n1"] and requests.leaving() == ["n2"] and requests.due_ns == 50
    requests.look(10, StableView(2, FOUR, THREE), dict)
    assert requests.answers == [] and len(requests) == 2
    requests.look(20, StableView(3, FOUR), dict)
    assert [answer[0] for _, answer in requests.answers] == ["ok"] and len(requests) == 1
    requests.look(90, StableView(3, FOUR), dict)
    assert [answer[0] for _, answer in requests.answers] == ["ok", "unknown"]
