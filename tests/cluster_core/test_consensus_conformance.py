"""What every consensus variant owes to the replica above it: one body, an arm per variant.

A variant joins by being registered in ``CONSENSUS``. The tests know only the interface: who leads,
what is committed, what clients are told. No test looks at a variant's messages, except to lose them
all; those that need a leader wait for one with their clocks, and none depends on real time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from core_pump import Pump, get, put

from cluster.ablations.registry import ablate
from cluster.config import MS, ClusterConfig
from cluster.consensus.membership_change import Change
from cluster.core.parts import CONSENSUS, ReplicaParts
from cluster.wire import Command, Response

VARIANTS = sorted(CONSENSUS)

#: Longest wait for a leader, for convergence, for an answer: many election timeouts.
PATIENCE_NS = 20_000 * MS


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """Each registered variant by name."""
    return str(request.param)


def cluster(variant: str, count: int = 3, *, seed: int = 0, **settings: int | bool) -> Pump:
    """A cluster of a variant, before anything happened."""
    parts = ReplicaParts(consensus=CONSENSUS[variant])
    return Pump(count, seed=seed, config=ClusterConfig(**settings), parts=parts)  # type: ignore[arg-type]


def until(pump: Pump, holds: Callable[[], bool], *, patience_ns: int = PATIENCE_NS) -> None:
    """Let time pass until something holds."""
    end = pump.now + patience_ns
    while not holds():
        assert pump.now < end, "it did not come to hold"
        pump.run(10 * MS)


def leads(pump: Pump, name: str) -> bool:
    return name in pump.nodes and pump.nodes[name].consensus.role == "leader"


def reachable_leader(pump: Pump) -> str:
    """The leader whose followers know it, or "": a deposed one has fewer than half."""
    for name in pump.nodes:
        told = [n for n, node in pump.nodes.items() if node.consensus.leader == name]
        if leads(pump, name) and len(told) * 2 > len(pump.names):
            return name
    return ""


def led(pump: Pump) -> str:
    """Wait for a leader that a majority follows."""
    until(pump, lambda: bool(reachable_leader(pump)))
    return reachable_leader(pump)


def ask(pump: Pump, name: str, command: Command, **options: object) -> Response:
    """Ask one node, and wait for its answer."""
    id = pump.ask(name, command, **options)  # type: ignore[arg-type]
    until(pump, lambda: pump.answer(id) is not None)
    response = pump.answer(id)
    assert response is not None
    return response


def write(pump: Pump, key: str, value: object, *, seq: int) -> None:
    """A write that is acknowledged by whoever leads; asked again if it was not taken."""
    for _ in range(20):
        if ask(pump, led(pump), put(key, value), seq=seq, first=seq).status == "ok":
            return
        pump.run(100 * MS)
    raise AssertionError("no leader acknowledged the write")


def read(pump: Pump, key: str, *, at: str = "", mode: str = "linearizable") -> object:
    """A linearizable read by the leader, or by the node named."""
    for _ in range(20):
        response = ask(pump, at or led(pump), get(key), mode=mode)
        if response.status == "ok":
            return response.value
        pump.run(100 * MS)
    raise AssertionError(f"no answer to a read: {response}")


def converged(pump: Pump) -> bool:
    """Whether all running nodes have applied the same, with the same state."""
    nodes = pump.nodes.values()
    applied = {node.applied for node in nodes}
    return (
        len(applied) == 1
        and applied == {max(node.consensus.high_water_mark for node in nodes)}
        and len({node.state_hash() for node in nodes}) == 1
    )


def others(pump: Pump, *names: str) -> list[str]:
    return [name for name in pump.names if name not in names]


# Leaders


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_leader_is_elected_and_followed(variant: str, count: int) -> None:
    pump = cluster(variant, count)
    leader = led(pump)
    until(pump, lambda: all(n.consensus.leader == leader for n in pump.nodes.values()))
    assert [name for name in pump.names if leads(pump, name)] == [leader]
    write(pump, "x", 1, seq=1)
    assert read(pump, "x") == 1
    until(pump, lambda: converged(pump))


def test_no_two_leaders_of_one_generation_whatever_the_timing(variant: str) -> None:
    for seed in range(15):
        pump = cluster(variant, 5, seed=seed)
        seen: dict[int, str] = {}

        def look(name: str, pump: Pump = pump, seen: dict[int, str] = seen) -> None:
            core = pump.nodes[name].consensus
            if core.role == "leader":
                assert seen.setdefault(core.clock.generation, name) == name

        pump.after_event = look
        for step in range(8):
            pump.run(700 * MS)
            pump.isolate(pump.names[(seed + step) % 5], pump.names[(seed + 2 * step) % 5])
        pump.cut = set()
        led(pump)
        assert seen


def test_a_dead_leader_is_replaced_and_nothing_acknowledged_is_lost(variant: str) -> None:
    pump = cluster(variant, 3)
    for number in range(1, 4):
        leader = led(pump)
        write(pump, f"k{number}", number, seq=number)
        pump.crash(leader)
        assert led(pump) != leader
        assert read(pump, f"k{number}") == number
        pump.restart(leader)
        until(pump, lambda: converged(pump))
    assert [read(pump, f"k{number}") for number in (1, 2, 3)] == [1, 2, 3]


def test_a_follower_that_cannot_hear_does_not_depose_the_leader(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    deaf = others(pump, leader)[0]
    pump.isolate(deaf)
    pump.run(5_000 * MS)
    pump.cut = set()
    pump.run(2_000 * MS)
    assert leads(pump, leader)


def test_leadership_is_handed_over_on_request(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    write(pump, "x", 1, seq=1)
    until(pump, lambda: converged(pump))
    heir = others(pump, leader)[1]
    assert ask(pump, leader, Command("transfer", heir)).status == "ok"
    assert led(pump) == heir
    assert read(pump, "x") == 1


def test_a_transfer_to_a_node_that_is_cut_off_ends_and_the_leader_goes_on(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    heir = others(pump, leader)[0]
    pump.isolate(heir)
    write(pump, "x", 1, seq=1)
    assert ask(pump, leader, Command("transfer", heir)).status in ("fail", "unknown", "retry")
    write(pump, "x", 2, seq=2)
    assert read(pump, "x") == 2


# Commitment


def test_a_minority_commits_nothing_and_serves_no_linearizable_read(variant: str) -> None:
    pump = cluster(variant, 5)
    leader = led(pump)
    write(pump, "x", 1, seq=1)
    friend = others(pump, leader)[0]
    pump.isolate(leader, friend)
    mark = pump.nodes[leader].consensus.high_water_mark
    lost = pump.ask(leader, put("x", 2), seq=1, session="other", timeout_ns=900 * MS)
    stale = pump.ask(leader, get("x"), timeout_ns=900 * MS)
    pump.run(3_000 * MS)
    assert pump.nodes[leader].consensus.high_water_mark == mark
    for id in (lost, stale):
        answer = pump.answer(id)
        assert answer is None or answer.status != "ok"
    write(pump, "x", 3, seq=2)
    pump.cut = set()
    until(pump, lambda: converged(pump))
    assert read(pump, "x") == 3


def test_what_was_pending_when_leadership_is_lost_is_unknown_not_failed(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    pump.isolate(leader)
    ids = [pump.ask(leader, put("x", n), seq=1, session=f"s{n}") for n in range(3)]
    until(pump, lambda: bool(reachable_leader(pump)) and reachable_leader(pump) != leader)
    pump.cut = set()
    until(pump, lambda: not leads(pump, leader) and all(pump.answer(id) for id in ids))
    answers = [pump.answer(id) for id in ids]
    assert {answer.status for answer in answers if answer} <= {"unknown", "redirect", "retry"}
    assert answers[0] is not None and answers[0].status == "unknown"


@pytest.mark.parametrize("ablations", [(), ("A27b",)], ids=["intact", "A27b"])
def test_a_deposed_leader_says_ok_for_no_entry_of_another(
    variant: str, ablations: tuple[str, ...]
) -> None:
    """All variants share the list of those that wait, and it names entries by generation, too."""
    pump = Pump(parts=ablate(ReplicaParts(consensus=CONSENSUS[variant]), ablations))
    leader = led(pump)
    pump.isolate(leader)
    ids = [pump.ask(leader, put("x", n), seq=1, session=f"s{n}") for n in range(3)]
    until(pump, lambda: reachable_leader(pump) not in ("", leader))
    for n in range(3):
        write(pump, "y", n, seq=n + 1)
    pump.cut = set()
    until(pump, lambda: converged(pump) and all(pump.answer(id) for id in ids))
    answers = [pump.answer(id) for id in ids]
    assert ("ok" in {answer.status for answer in answers if answer}) == bool(ablations)
    assert read(pump, "x") is None, "none of it is in a log any more"


def test_nothing_is_answered_before_a_majority_has_it_durable(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    until(pump, lambda: converged(pump))
    pump.auto_sync = False
    id = pump.ask(leader, put("x", 1), seq=1)
    pump.run(200 * MS)
    assert pump.answer(id) is None
    pump.sync(leader)
    pump.run(200 * MS)
    assert pump.answer(id) is None, "one disk of three is no majority"
    for name in pump.names:
        pump.sync(name)
    pump.run(200 * MS)
    for name in pump.names:
        pump.sync(name)
    pump.auto_sync = True
    until(pump, lambda: pump.answer(id) is not None)
    answer = pump.answer(id)
    assert answer is not None and answer.status == "ok"


def test_lost_messages_are_made_good(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    ids = []
    for seq in range(1, 8):
        ids.append(pump.ask(leader, put("x", seq), seq=seq, first=seq))
        if seq % 2:
            pump.wire.clear()
        pump.run(30 * MS)
    until(pump, lambda: all(pump.answer(id) for id in ids) and converged(pump))
    assert read(pump, "x") == 7


# Nodes that come back


def test_a_follower_that_was_away_catches_up(variant: str) -> None:
    pump = cluster(variant, 3, batch_entries_max=4, inflight_max=2)
    leader = led(pump)
    away = others(pump, leader)[0]
    pump.crash(away)
    for seq in range(1, 41):
        write(pump, f"k{seq}", seq, seq=seq)
    pump.restart(away)
    until(pump, lambda: converged(pump))
    assert pump.nodes[away].state.machine.read(get("k40"))[:2] == ("ok", 40)


def test_a_follower_behind_the_low_water_mark_gets_a_snapshot(variant: str) -> None:
    pump = cluster(
        variant, 3, snapshot_entries=10, snapshot_keep_entries=2, snapshot_chunk_bytes=100
    )
    leader = led(pump)
    away = others(pump, leader)[0]
    pump.isolate(away)
    for seq in range(1, 40):
        write(pump, f"k{seq}", seq, seq=seq)
    behind = pump.nodes[away].consensus.log.last_index
    assert pump.nodes[led(pump)].consensus.log.first_index > behind + 1
    pump.cut = set()
    until(pump, lambda: converged(pump))
    pump.crash(away)
    pump.restart(away)
    until(pump, lambda: converged(pump))
    write(pump, "last", 1, seq=40)
    assert read(pump, "k1") == 1


def test_a_follower_that_missed_all_writes_gets_everything(variant: str) -> None:
    """Nothing is kept below a snapshot: only the snapshot can bring it back."""
    pump = cluster(variant, 3, snapshot_entries=10, snapshot_keep_entries=0)
    leader = led(pump)
    pump.isolate(others(pump, leader)[0])
    for seq in range(1, 25):
        write(pump, f"k{seq}", seq, seq=seq)
    pump.cut = set()
    until(pump, lambda: converged(pump))


@pytest.mark.parametrize("snapshot_entries", [5, 10_000])
def test_a_restart_of_all_nodes_loses_nothing(variant: str, snapshot_entries: int) -> None:
    pump = cluster(variant, 3, snapshot_entries=snapshot_entries, snapshot_keep_entries=0)
    seq = 0
    for _ in range(3):
        for _ in range(6):
            seq += 1
            write(pump, f"k{seq}", seq, seq=seq)
        for name in pump.names:
            pump.crash(name)
        pump.wire.clear()
        for name in pump.names:
            pump.restart(name)
    assert [read(pump, f"k{number}") for number in range(1, seq + 1)] == list(range(1, seq + 1))
    until(pump, lambda: converged(pump))


def test_a_node_that_crashes_again_and_again_under_load_does_no_harm(variant: str) -> None:
    pump = cluster(variant, 3, snapshot_entries=15, snapshot_keep_entries=3)
    for seq in range(1, 31):
        victim = pump.names[seq % 3]
        write(pump, f"k{seq % 7}", seq, seq=seq)
        pump.crash(victim)
        pump.run(seq % 5 * 100 * MS)
        pump.restart(victim)
    until(pump, lambda: converged(pump))
    assert [read(pump, f"k{key}") for key in range(7)] == [28, 29, 30, 24, 25, 26, 27]


# Reads


def test_a_new_leader_reads_what_the_old_one_acknowledged(variant: str) -> None:
    """The followers have the entry and do not know that it is committed."""
    for seed in range(5):
        pump = cluster(variant, 3, seed=seed)
        leader = led(pump)
        write(pump, "x", 1, seq=1)
        pump.run(500 * MS)
        id = pump.ask(leader, put("x", 2), seq=2, first=2)
        pump.deliver_all()
        answer = pump.answer(id)
        assert answer is not None and answer.status == "ok"
        pump.crash(leader)
        assert read(pump, "x") == 2


def test_a_cut_off_leader_answers_no_linearizable_read_from_the_past(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    write(pump, "x", 1, seq=1)
    pump.isolate(leader)
    until(pump, lambda: any(leads(pump, name) for name in others(pump, leader)))
    write(pump, "x", 2, seq=2)
    id = pump.ask(leader, get("x"), timeout_ns=1_000 * MS)
    pump.run(2_000 * MS)
    answer = pump.answer(id)
    assert answer is not None and answer.status in ("retry", "redirect")


def test_a_follower_serves_linearizable_reads(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    follower = others(pump, leader)[0]
    for seq in range(1, 6):
        write(pump, "x", seq, seq=seq)
        assert read(pump, "x", at=follower, mode="follower") == seq


def test_a_follower_that_is_cut_off_serves_no_linearizable_read(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    follower = others(pump, leader)[0]
    write(pump, "x", 1, seq=1)
    pump.isolate(follower)
    write(pump, "x", 2, seq=2)
    id = pump.ask(follower, get("x"), mode="follower", timeout_ns=1_000 * MS)
    pump.run(2_000 * MS)
    answer = pump.answer(id)
    assert answer is not None and answer.status in ("retry", "redirect")


def test_lease_reads_end_with_the_lease(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    write(pump, "x", 1, seq=1)
    pump.run(500 * MS)
    assert read(pump, "x", mode="lease") == 1
    pump.isolate(leader)
    until(pump, lambda: any(leads(pump, name) for name in others(pump, leader)))
    write(pump, "x", 2, seq=2)
    id = pump.ask(leader, get("x"), mode="lease", timeout_ns=1_000 * MS)
    pump.run(2_000 * MS)
    answer = pump.answer(id)
    assert answer is not None and answer.status in ("retry", "redirect")


# Members


def test_a_change_of_members_is_made_or_refused_with_a_sentence(variant: str) -> None:
    pump = cluster(variant, 3)
    leader = led(pump)
    write(pump, "x", 1, seq=1)
    refused = pump.nodes[leader].consensus.change_members(pump.now, Change("add-learner", "n4"))
    assert refused is None or len(refused.why.split()) > 3
    if refused is not None:
        answer = ask(pump, leader, Command("add-learner", "n4"))
        assert answer.status == "fail" and answer.error == refused.why
    answer = ask(pump, leader, Command("members", ""))
    assert answer.status == "ok" and answer.value["voters"] == ["n1", "n2", "n3"]
