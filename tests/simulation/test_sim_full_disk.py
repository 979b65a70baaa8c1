"""A full disk in simulation is a full disk of a real node: it stops nobody (cluster.host.room)."""

from __future__ import annotations

import pytest

from cluster.config import ClusterConfig
from cluster.simulation.sessions import Call
from cluster.simulation.world import SECOND, World
from cluster.wire import Command

NODES = ("n1", "n2", "n3")


def do(world: World, op: str, *args: object, timeout_s: int = 5) -> Call:
    """A command of a session of its own, and its outcome."""
    session = world.session(f"c{len(world.sessions())}", timeout_ns=timeout_s * SECOND)
    call = session.submit(Command(op, "x", args))
    assert world.run_until(lambda: not session.pending, 10 * SECOND)
    return call


def led(world: World) -> str:
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND)
    leader = world.leader()
    assert leader is not None
    return leader


def fill(world: World, *nodes: str, full: bool = True) -> None:
    for node in nodes:
        world.set_disk(node, {"full": True} if full else {})


@pytest.mark.parametrize("role", ["core", "data"])
@pytest.mark.parametrize("seed", range(3))
def test_reads_are_served_writes_refused_and_go_on_with_room(seed: int, role: str) -> None:
    world = World(seed=seed, role=role)
    led(world)
    assert do(world, "put", 1).status == "ok"
    fill(world, *NODES)
    world.run_for(5 * SECOND)
    assert all(map(world.alive, NODES))
    assert do(world, "get").value == 1
    refused = do(world, "put", 2, timeout_s=2)
    assert (refused.status, "is full" in refused.error) == ("fail", True)
    fill(world, *NODES, full=False)
    assert do(world, "put", 3).status == "ok"
    assert do(world, "get").value == 3


@pytest.mark.parametrize("role", ["core", "data"])
def test_a_leader_without_room_lets_one_lead_that_has_it(role: str) -> None:
    world = World(seed=1, role=role)
    leader = led(world)
    fill(world, leader)
    world.run_for(3 * SECOND)
    assert do(world, "put", 1).status == "ok"
    assert world.alive(leader) and led(world) != leader
    fill(world, leader, full=False)
    world.run_for(SECOND)
    told = [note.event for _, node, note in world.notes if node == leader]
    assert [event for event in told if event.startswith("disk-")] == ["disk-full", "disk-has-room"]


@pytest.mark.parametrize("seed", range(5))
def test_a_write_that_finds_no_room_waits_in_its_place(seed: int) -> None:
    """Elections write votes until the segment is full; the next one waits for the next segment."""
    world = World(seed=seed, config=ClusterConfig(segment_bytes=1000, snapshot_entries=20))
    leader = led(world)
    for number in range(30):
        assert do(world, "put", "v" * 200 + str(number)).status == "ok"
    fill(world, *NODES)
    for _ in range(12):  # generations come and go: hard states and noops are still written
        world.pause(leader)
        world.run_for(2 * SECOND)
        world.resume(leader)
        world.run_for(SECOND)
        leader = world.leader() or leader
    assert all(map(world.alive, NODES))
    assert sum(world._node(node).disk.counts["full"] for node in NODES) > 0
    lives = [world._node(node).life for node in NODES]
    assert any(life is not None and life.waits_for_room for life in lives)
    fill(world, *NODES, full=False)
    assert do(world, "put", "last").status == "ok"
    assert do(world, "get").value == "last"
