"""The world by itself, with a core so small that every event can be told in advance."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from echo_core import Caller, EchoCore, echo, echo_view

from cluster.simulation.disk import DiskProfile
from cluster.simulation.heap import EventHeap
from cluster.simulation.network import LinkFault, NetworkProfile
from cluster.simulation.world import MS, SECOND, World


def make(seed: int = 1, **options: object) -> World:
    options.setdefault("check_invariants", False)
    return World(seed=seed, core=echo, view_of=echo_view, **options)  # type: ignore[arg-type]


def core(world: World, node: str) -> EchoCore:
    found = world.core(node)
    assert isinstance(found, EchoCore)
    return found


def test_beats_are_delivered_in_order_within_the_delays() -> None:
    world = make(network=NetworkProfile(delay_min_ns=1 * MS, delay_max_ns=2 * MS))
    world.run_for(SECOND)
    rounds = [number for _, source, number in core(world, "n2").beats if source == "n1"]
    assert rounds == list(range(1, len(rounds) + 1))
    assert 19 <= len(rounds) <= 20
    assert world.network.counters()["n1", "n2"]["passed"] >= 2 * len(rounds) - 2


def test_a_cut_is_one_direction_and_counts_what_it_dropped() -> None:
    world = make()
    world.network.set_links({("n1", "n2"): LinkFault(cut=True)})
    world.run_for(SECOND)
    assert not [beat for beat in core(world, "n2").beats if beat[1] == "n1"]
    assert [beat for beat in core(world, "n1").beats if beat[1] == "n2"]
    counters = world.network.counters()
    assert counters["n1", "n2"]["dropped"] > 30
    assert counters["n1", "n2"]["passed"] == 0
    assert counters["n1", "n3"]["dropped"] == 0
    world.network.set_links({})
    world.run_for(SECOND)
    assert [beat for beat in core(world, "n2").beats if beat[1] == "n1"]


def test_loss_duplication_reordering_and_corruption_happen_and_are_counted() -> None:
    fault = LinkFault(loss=0.2, duplicate=0.2, reorder=0.2, corrupt=0.05, jitter_ns=MS)
    world = make(seed=3)
    world.network.set_links({("n1", "n2"): fault})
    world.run_for(20 * SECOND)
    counts = world.network.counters()["n1", "n2"]
    assert all(counts[name] > 5 for name in counts), counts
    rounds = [number for _, source, number in core(world, "n2").beats if source == "n1"]
    assert len(set(rounds)) < len(rounds), "nothing arrived twice"


def test_a_slow_link_delays_by_its_bandwidth() -> None:
    world = make()
    world.network.set_links({("n1", "n2"): LinkFault(rate_bytes_per_s=100)})
    world.run_for(SECOND)
    arrived = [beat for beat in core(world, "n2").beats if beat[1] == "n1"]
    assert 1 <= len(arrived) <= 10, "a beat of about 12 bytes takes an eighth of a second"


def test_a_reply_leaves_only_when_its_write_is_durable() -> None:
    world = make(disk=DiskProfile(sync_min_ns=10 * MS, sync_max_ns=10 * MS))
    caller = Caller(world)
    world.run_for(20 * MS)
    caller.say("n1", 1)
    world.run_for(9 * MS)
    assert not caller.responses
    world.run_for(5 * MS)
    assert [response.value for response in caller.responses] == [[1]]


def test_writes_issued_during_a_sync_share_the_next_one() -> None:
    world = make(disk=DiskProfile(sync_min_ns=10 * MS, sync_max_ns=10 * MS))
    caller = Caller(world)
    world.run_for(20 * MS)
    before = world.disk("n1").counts["syncs"]
    for number in range(1, 11):
        caller.say("n1", number)
    world.run_for(25 * MS)
    assert len(core(world, "n1").entries) == 10
    assert world.disk("n1").counts["syncs"] - before == 2
    world.run_for(25 * MS)  # then it is idle, and both copies of the superblock are synced
    assert world.disk("n1").counts["syncs"] - before == 4


def test_a_crash_loses_what_was_not_synced_and_nothing_else() -> None:
    world = make(disk=DiskProfile(sync_min_ns=10 * MS, sync_max_ns=10 * MS))
    caller = Caller(world)
    world.run_for(20 * MS)
    caller.say("n1", 1)
    world.run_for(20 * MS)
    caller.say("n1", 2)
    world.run_for(5 * MS)
    assert len(core(world, "n1").entries) == 2
    lost = world.crash("n1")
    assert lost["bytes_lost"] > 0
    assert not world.alive("n1")
    assert world.status("n1") is None
    world.run_for(5 * MS)
    assert caller.closed == [1]
    assert world.restart("n1")
    assert [entry.data for entry in core(world, "n1").entries] == [b"(1,)"]


def test_a_request_to_a_dead_node_is_refused_and_a_new_connection_works() -> None:
    world = make()
    caller = Caller(world)
    world.crash("n1")
    caller.say("n1", 1)
    world.run_for(5 * MS)
    assert caller.closed == [1]
    world.restart("n1")
    caller.say("n1", 2)
    world.run_for(20 * MS)
    assert [response.id for response in caller.responses] == [2]


def test_a_closed_connection_is_told_to_the_core() -> None:
    world = make()
    caller = Caller(world)
    caller.say("n1", 1)
    world.run_for(20 * MS)
    caller.hang_up("n1")
    world.run_for(20 * MS)
    assert core(world, "n1").gone == [1]


def test_a_paused_node_sees_everything_late_and_in_order() -> None:
    world = make()
    world.run_for(SECOND)
    world.pause("n1")
    seen, ticks = len(core(world, "n1").beats), len(core(world, "n1").ticks)
    world.run_for(SECOND)
    assert (len(core(world, "n1").beats), len(core(world, "n1").ticks)) == (seen, ticks)
    world.resume("n1")
    beats = core(world, "n1").beats[seen:]
    assert len(beats) >= 38, "they waited in the socket buffers"
    assert len({now for now, _, _ in beats}) == 1
    for peer in ("n2", "n3"):
        rounds = [number for _, source, number in beats if source == peer]
        assert rounds == sorted(rounds)
    assert len(core(world, "n1").ticks) == ticks + 1, "a timer that is late fires once"


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_a_clock_of_another_rate_moves_timers(rate: float) -> None:
    world = make()
    world.run_for(SECOND)
    before = {node: len(core(world, node).ticks) for node in ("n1", "n2")}
    assert world.set_clock("n1", offset_ns=-3 * SECOND, rate=rate) == -3 * SECOND
    world.run_for(10 * SECOND)
    fast = len(core(world, "n1").ticks) - before["n1"]
    right = len(core(world, "n2").ticks) - before["n2"]
    assert abs(fast - rate * right) <= 2
    assert world.clock_offset_ns("n1") == -3 * SECOND
    assert world.clock_offset_ns("n2") == 0


def test_a_disk_error_stops_the_node_and_healing_lets_it_start() -> None:
    world = make()
    caller = Caller(world)
    world.run_for(20 * MS)
    assert world.set_disk("n1", {"error": "EIO"})["errors"] == 0
    caller.say("n1", 1)
    world.run_for(20 * MS)
    assert not world.alive("n1")
    assert "EIO" in world.why_down("n1")
    assert world.set_disk("n1", {})["errors"] > 0
    assert world.restart("n1")


def test_the_atlas_keeps_a_majority_of_good_disks() -> None:
    world = make()
    caller = Caller(world)
    for number in range(1, 200):
        for node in ("n1", "n2", "n3"):
            caller.say(node, number * 10**15)
    world.run_for(SECOND)
    assert world.set_disk("n1", {"flip": True})["flipped"] == 1
    assert world.set_disk("n2", {"flip": True})["skipped"]
    assert world.disk("n2").counts["flipped"] == 0
    assert world.atlas.damaged == ["n1"]


def test_run_until_stops_at_the_event_and_at_the_limit() -> None:
    world = make()
    assert world.run_until(lambda: len(core(world, "n2").beats) >= 3, SECOND)
    assert len(core(world, "n2").beats) == 3
    now_ns = world.now_ns
    assert not world.run_until(lambda: False, 10 * MS)
    assert world.now_ns == now_ns + 10 * MS


def test_a_cancelled_call_is_not_made() -> None:
    world, called = make(), []
    world.at(MS, called.append, 1)
    world.at(MS, called.append, 2).cancel()
    world.run_for(2 * MS)
    assert called == [1]


@pytest.mark.parametrize(
    "nodes, message",
    [((), "at least one node"), ("n1", "list of names"), (("n1", "n1"), "once only")],
)
def test_bad_names_are_refused_with_a_sentence(nodes: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(nodes=nodes)


def test_unknown_nodes_and_faults_are_named() -> None:
    world = make()
    with pytest.raises(ValueError, match="no node 'n9'; the nodes are n1, n2, n3"):
        world.crash("n9")
    with pytest.raises(ValueError, match="no fault 'eio'"):
        world.set_disk("n1", {"eio": True})


def eventful(seed: int) -> str:
    """The digest of a world in which everything happens."""
    world = make(seed, network=NetworkProfile(slow_probability=0.1, slow_ns=20 * MS))
    caller = Caller(world)
    for number in range(1, 50):
        world.at(number * 20 * MS, caller.say, f"n{number % 3 + 1}", number)
    world.at(200 * MS, world.crash, "n1")
    world.at(300 * MS, world.restart, "n1")
    world.at(400 * MS, world.pause, "n2")
    world.at(700 * MS, world.resume, "n2")
    world.at(500 * MS, world.network.set_links, {("n1", "n3"): LinkFault(loss=0.5, delay_ns=MS)})
    world.run_for(2 * SECOND)
    return world.trace_hash()


def test_a_seed_is_a_run() -> None:
    first = eventful(7)
    assert eventful(7) == first
    assert eventful(7) == first
    assert eventful(8) != first


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_a_seed_is_the_same_run_in_every_process(hash_seed: str) -> None:
    code = "from test_world import eventful; print(eventful(7))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == eventful(7)


def test_events_run_until_something_waits() -> None:
    heap, waiting, done = EventHeap(), [], []
    for number in range(6):
        heap.push(number, done.append, number)
    heap.push(2, waiting.append, "a task")
    assert heap.step_until(waiting, 64)
    assert done == [0, 1, 2]
    assert heap.now_ns == 2
    assert heap.step_until([], 2)
    assert done == [0, 1, 2, 3, 4], "no more than asked for"
    assert heap.step_until([], 64)
    assert not heap.step_until([], 64), "there is none left"
