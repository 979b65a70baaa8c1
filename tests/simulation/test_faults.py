"""The pieces of which fault kinds are made: held frames, disks between operations, names torn."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from cluster.core.parts import CONSENSUS
from cluster.ports import DiskError
from cluster.simulation.disk import POWER_LOST, DiskProfile, SimDisk
from cluster.simulation.faults import table
from cluster.simulation.faults.context import FaultContext
from cluster.simulation.faults.links import held_frame
from cluster.simulation.liveness import heal, settle
from cluster.simulation.profiles import draw
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command


def made(disk: SimDisk, *names: str) -> None:
    for name in names:
        disk.create(name)
        disk.append(name, b"x")
        disk.sync(name)


# -- disks


def test_a_single_operation_fails_after_some_that_went_well() -> None:
    disk = SimDisk(DiskProfile(), random.Random(1))
    disk.set({"error": "EIO", "after": 2})
    disk.create("a")
    disk.append("a", b"1")
    with pytest.raises(DiskError, match="EIO"):
        disk.append("a", b"2")
    disk.append("a", b"3")
    assert disk.read("a") == b"13"
    assert disk.counts["errors"] == 1


def test_power_is_lost_between_two_operations() -> None:
    disk = SimDisk(DiskProfile(), random.Random(1))
    disk.set({"power": True, "torn": True, "after": 1})
    disk.create("a")
    assert disk.read("a") == b"", "reading is no operation that counts"
    with pytest.raises(DiskError) as caught:
        disk.append("a", b"1")
    assert caught.value.code == POWER_LOST
    assert disk.torn, "the crash that follows tears"
    disk.crash(lose_unsynced=True, torn=False)
    assert disk.names() == []


def test_a_node_that_loses_power_is_down_and_comes_back() -> None:
    world = World(seed=3)
    assert world.run_until(lambda: world.leader() is not None, 5 * SECOND)
    leader = world.leader()
    assert leader is not None
    world.set_disk(leader, {"power": True, "after": 3})
    session = world.session("c1")
    for number in range(4):
        session.submit(Command("put", "x", (number,)))
        world.run_for(500 * MS)
    assert not world.alive(leader)
    assert world.why_down(leader) == "lost power"
    heal(world)
    assert settle(world).ok


def test_a_torn_crash_keeps_any_of_the_changes_of_names() -> None:
    kept = set()
    for seed in range(200):
        disk = SimDisk(DiskProfile(), random.Random(seed))
        made(disk, "a")
        disk.sync_dir()
        made(disk, "b", "c")
        disk.rename("b", "d")
        disk.remove("a")
        lost = disk.crash(lose_unsynced=True, torn=True)["names_lost"]
        names = tuple(disk.names())
        kept.add(names)
        assert (lost == 0) == (names == ("c", "d"))
        disk.crash(lose_unsynced=True, torn=True)
        assert tuple(disk.names()) == names, "what a crash left is durable"
    assert {("a",), ("c", "d")} <= kept, "nothing, and everything"
    assert ("a", "b") in kept, "up to some point"
    assert ("a", "c") in kept, "a later change without an earlier one"
    assert () in kept, "the removal alone"
    assert not any("b" in names and "d" in names for names in kept), "a file has one name"


def test_a_crash_that_does_not_tear_loses_all_changes_of_names() -> None:
    disk = SimDisk(DiskProfile(), random.Random(0))
    made(disk, "a", "b")
    assert disk.crash(lose_unsynced=True, torn=False) == {"bytes_lost": 0, "names_lost": 2}
    assert disk.names() == []


# -- frames


def test_one_frame_is_held_and_delivered_after_later_ones() -> None:
    world = World(seed=5)
    assert world.run_until(lambda: world.leader() is not None, 5 * SECOND)
    context = FaultContext(world, draw(5), lambda: False)
    seen: list[tuple[str, str, int]] = []
    order: list[Any] = []
    network = world.network
    send, deliver = network.send, network._deliver

    def sent(src: str, dst: str, frame: Any) -> None:
        order.append(frame)
        send(src, dst, frame)

    def delivered(src: str, dst: str, frame: Any) -> None:
        found = next((i for i, known in enumerate(order) if known is frame), -1)
        seen.append((src, dst, found))
        deliver(src, dst, frame)

    network.send, network._deliver = sent, delivered  # type: ignore[method-assign]
    injected = held_frame(context)
    source, target = injected.value["link"]
    world.run_for(2 * SECOND)
    injected.heal()
    world.run_for(injected.value["extra_ns"] + SECOND)
    numbers = [number for src, dst, number in seen if (src, dst) == (source, target)]
    late = [later for earlier, later in pairwise(numbers) if later < earlier]
    assert len(late) == 1, "one frame came after a later one"
    assert world.network.link(source, target).hold is None
    assert settle(world).ok


def test_healing_releases_what_is_held() -> None:
    world = World(seed=5)
    link = world.network.link("n1", "n2")
    link.hold = lambda frame: True
    world.network.send("n1", "n2", "frame")
    heal(world)
    assert link.hold is None and link.held == []


# -- kinds


def test_a_variant_is_asked_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        """A variant whose members are fixed."""

    monkeypatch.setitem(CONSENSUS, "plain", Plain())  # type: ignore[arg-type]
    drawn = set(table.KINDS) - table.ASKED_FOR
    assert set(table.kinds_for("raft")) == drawn
    assert drawn - set(table.kinds_for("plain")) == {"transfer", "membership"}
    with pytest.raises(ValueError, match="there is no consensus 'rft'"):
        table.kinds_for("rft")
