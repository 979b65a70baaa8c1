"""The parts of role ``leaderless``, each alone: placement, trees, clocks, hints, tombstones."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.clocks.hybrid_clock import HybridClock
from cluster.clocks.lamport_clock import LamportClock
from cluster.leaderless.anti_entropy import KEYS_MAX, AntiEntropy
from cluster.leaderless.hinted_handoff import BATCH, HintedHandoff
from cluster.leaderless.merkle_tree import MerkleTree, path_of
from cluster.leaderless.placement import preference_list
from cluster.leaderless.read_repair import LATE_MAX, ReadRepair
from cluster.leaderless.stamps import HybridStamps, LamportStamps, NoStamps, WallStamps
from cluster.leaderless.tombstones import Tombstones

NODES = ("n1", "n2", "n3", "n4", "n5")

# -- placement


def test_every_process_names_the_same_replicas() -> None:
    code = (
        "from cluster.leaderless.placement import preference_list as p;"
        f"print([p(f'k{{n}}', {NODES!r}) for n in range(20)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {f"{[preference_list(f'k{n}', NODES) for n in range(20)]}\n"}


@given(st.sampled_from([f"k{n}" for n in range(50)]), st.sampled_from(NODES))
def test_a_member_that_leaves_moves_only_its_own_keys(key: str, gone: str) -> None:
    before = preference_list(key, NODES)
    left = [node for node in NODES if node != gone]
    assert preference_list(key, left) == tuple(node for node in before if node != gone)
    assert preference_list(key, reversed(NODES)) == before  # type: ignore[arg-type]


def test_keys_are_spread_over_the_members() -> None:
    first = [preference_list(f"key-{n}", NODES)[0] for n in range(1_000)]
    assert all(120 < first.count(node) < 280 for node in NODES)


# -- Merkle trees

TABLES = st.dictionaries(st.sampled_from([f"k{n}" for n in range(40)]), st.binary(max_size=3))


def tree_of(table: dict[str, bytes]) -> MerkleTree:
    tree = MerkleTree()
    for key, digest in table.items():
        tree.set(key, digest)
    return tree


def found_differing(one: MerkleTree, other: MerkleTree) -> set[str]:
    """What a whole exchange between two nodes finds: keys that either would send or ask for."""
    exchange, found = AntiEntropy(every_ns=1), set()
    paths = exchange.differing(one, (), other.children())
    while paths:
        path = paths.pop()
        if exchange.is_range(path):
            send, want = exchange.to_send(one, path, tuple(other.rows(path).items()))
            found |= {*send, *want}
        else:
            paths += exchange.differing(one, path, other.children(path))
    return found


@given(TABLES, TABLES)
def test_an_exchange_finds_the_difference_of_two_tables_and_nothing_else(
    mine: dict[str, bytes], theirs: dict[str, bytes]
) -> None:
    one, other = tree_of(mine), tree_of(theirs)
    differ = {key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key)}
    assert found_differing(one, other) == differ
    assert (one.root() == other.root()) == (not differ)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.binary(max_size=2))))
def test_a_tree_changed_step_by_step_is_the_tree_of_its_table(
    steps: list[tuple[str, bytes | None]],
) -> None:
    tree, table = MerkleTree(), dict[str, bytes]()
    for key, digest in steps:
        tree.set(key, digest)
        tree.root()  # inner nodes are remembered, and must be forgotten again
        table.pop(key, None)
        if digest is not None:
            table[key] = digest
    assert tree.root() == tree_of(table).root()
    assert len(tree) == len(table)


def test_a_foreign_exchange_is_harmless() -> None:
    exchange, tree = AntiEntropy(every_ns=1), tree_of({"a": b"1"})
    assert exchange.differing(tree, (), (b"x",)) == []
    assert exchange.differing(tree, (0, 0, 0), ()) == []
    other = "b" if path_of("b") != path_of("a") else "c"
    assert exchange.to_send(tree, path_of("a"), [(other, b"2")]) == (["a"], [])


def test_a_node_without_peers_does_not_wake_for_a_comparison_without_end() -> None:
    exchange = AntiEntropy(every_ns=7)
    assert exchange.next_peer(5, ()) is None
    assert exchange.due_ns == 12


def test_one_range_is_sent_in_parts() -> None:
    rows = [(f"key-{n}", b"1") for n in range(60_000)]
    path = path_of("key-0")
    same = [row for row in rows if path_of(row[0]) == path]
    assert len(same) > KEYS_MAX
    send, want = AntiEntropy(every_ns=1).to_send(MerkleTree(), path, same)
    assert send == [] and len(want) == KEYS_MAX


def test_peers_take_turns() -> None:
    exchange, peers = AntiEntropy(every_ns=10), ("n2", "n3")
    assert {exchange.next_peer(0, peers), exchange.next_peer(10, peers)} == {"n2", "n3"}
    assert exchange.next_peer(15, peers) is None


# -- clocks


@given(st.lists(st.one_of(st.none(), st.integers(0, 5_000), st.just("restart"))))
def test_a_lamport_clock_only_grows_restarts_included(steps: list[object]) -> None:
    clock, issued = LamportClock(), 0
    durable = 0
    for step in steps:
        if step == "restart":
            clock = LamportClock(durable)
        elif isinstance(step, int):
            clock.observe(step)
            assert clock.last >= step
        bound = clock.bound_wanted()
        if bound:
            clock.bound_durable(bound)
            durable = bound
        number = clock.issue()
        assert issued < number <= durable
        issued = number


def test_a_lamport_clock_issues_nothing_above_its_durable_bound() -> None:
    clock = LamportClock(reserve=4)
    assert not clock.ready
    bound = clock.bound_wanted()
    assert bound == 4 and clock.bound_wanted() == 0
    clock.bound_durable(bound)
    assert [clock.issue() for _ in range(2)] == [1, 2]
    assert clock.bound_wanted() == 6, "half of the reserve is used"
    assert [clock.issue() for _ in range(2)] == [3, 4] and not clock.ready
    with pytest.raises(AssertionError, match="5 is above the durable bound 4"):
        clock.issue()
    with pytest.raises(ValueError, match="durable is -1"):
        LamportClock(-1)


def test_stamps_hide_the_clock() -> None:
    wall = [1_000]
    stamps = WallStamps(lambda: wall[0])
    assert stamps.issue() == 1_000 and stamps.observe(5_000) and stamps.issue() == 1_000
    hybrid = HybridStamps(HybridClock(max_offset_ns=100), lambda: wall[0])
    assert "not durable" in hybrid.problem()
    hybrid.bound_durable(hybrid.bound_wanted())
    assert hybrid.problem() == "" and hybrid.issue() == 1_000
    assert hybrid.observe(1_090) and hybrid.issue() == 1_091
    assert not hybrid.observe(1_200) and hybrid.reading == 1_091 and hybrid.ahead_ns() == 91
    lamport = LamportStamps(LamportClock())
    assert "not durable" in lamport.problem()
    with pytest.raises(AssertionError, match="no stamps"):
        NoStamps().issue()


# -- who is there, hints, repairs


def test_each_replica_that_is_away_has_a_keeper_of_its_own() -> None:
    handoff = HintedHandoff("n1", hints_max=2)
    keepers = [handoff.keeper(NODES, 3, target, lambda _: True) for target in ("n2", "n3")]
    assert sorted(keepers) == ["n4", "n5"]
    assert handoff.keeper(NODES, 3, "n2", lambda node: node == "n5") == "n5"
    assert handoff.keeper(NODES[:3], 3, "n2", lambda _: True) == "n1", "nobody stands in"
    assert handoff.has_room(1) and not handoff.has_room(2) and not handoff.counts()


def test_hints_are_sent_once_until_they_are_answered() -> None:
    handoff = HintedHandoff("n1", hints_max=10)
    hints = [("n2", f"k{n}") for n in range(BATCH + 5)] + [("n3", "x")]
    there = {"n2"}
    first = handoff.due(hints, lambda node: node in there)
    assert first == hints[:BATCH]
    assert handoff.due(hints, lambda node: node in there) == hints[BATCH:-1]
    assert handoff.due(hints, lambda node: node in there) == []
    handoff.arrived("n2", "k0")
    assert handoff.due(hints[1:], lambda node: node in there) == []
    there.clear()  # away again: what was sent is sent again once it is back
    assert handoff.due(hints, lambda node: node in there) == []
    there.add("n2")
    assert handoff.due(hints, lambda node: node in there) == hints[:BATCH]


def test_a_late_answer_is_waited_for_once() -> None:
    repair = ReadRepair()
    assert repair.must_write_back(have=1, quorum=2) and not repair.must_write_back(have=2, quorum=2)
    state = tree_of  # any object: it is only handed back
    repair.expect(1, "x", state, {"n3"})  # type: ignore[arg-type]
    assert repair.late(1, "n2") is None
    assert repair.late(1, "n3") == ("x", state) and repair.late(1, "n3") is None
    for read in range(2, LATE_MAX + 4):
        repair.expect(read, "x", state, {"n3"})  # type: ignore[arg-type]
    assert repair.late(2, "n3") is None and repair.late(LATE_MAX + 3, "n3") is not None


# -- tombstones


def test_a_tombstone_waits_for_its_time_and_for_every_member() -> None:
    tombstones = Tombstones(grace_ns=100)
    members = ("n1", "n2", "n3")
    tombstones.changed(10, "x", is_tombstone=True)
    assert tombstones.to_ask(109) == [] and tombstones.to_ask(110) == ["x"]
    tombstones.ask("x", b"d")
    assert not tombstones.confirm("x", b"d", "n1", members) and not tombstones.confirm(
        "x", b"d", "n2", members
    )
    assert not tombstones.confirm("x", b"other", "n3", members), "of another state"
    assert tombstones.confirm("x", b"d", "n3", members)
    tombstones.reap("x")
    assert len(tombstones) == 0 and tombstones.reaped == 1


def test_a_tombstone_that_changed_begins_anew() -> None:
    tombstones = Tombstones(grace_ns=100)
    members = ("n1", "n2")
    tombstones.changed(0, "x", is_tombstone=True)
    assert tombstones.to_ask(100) == ["x"]
    tombstones.ask("x", b"d")
    assert not tombstones.confirm("x", b"d", "n1", members)
    tombstones.changed(120, "x", is_tombstone=True)
    assert not tombstones.confirm("x", b"d", "n2", members), (
        "what they said was of the state before"
    )
    assert tombstones.to_ask(160) == [] and tombstones.to_ask(220) == ["x"]
    tombstones.changed(230, "x", is_tombstone=False)
    assert tombstones.to_ask(900) == [] and len(tombstones) == 0
