"""Placement in whole nodes: real groups, the real core, clients of the partitions' requests."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cluster.ablations import (
    a36a_hash_divided_by_the_groups,
    a36b_hash_salted_per_process,
    a37_stale_epoch_accepted,
    a48_cached_map_is_believed,
)
from cluster.ablations.registry import Ablation
from cluster.config import MS, ClusterConfig
from cluster.core.parts import ReplicaParts
from cluster.data.controller_part import ControllerPart
from cluster.data.front import Front
from cluster.data.node import DataNode
from cluster.data.partition_machine import PartitionParts
from cluster.data.partition_record import OWNED
from cluster.data.parts import DataParts
from cluster.data.placement import Placement
from cluster.data.placement_part import MakePlacement
from cluster.ports import Core
from cluster.simulation.network import LinkFault
from cluster.simulation.reference import role_of
from cluster.simulation.sessions import Call
from cluster.simulation.world import World
from cluster.wire import Command

NODES = ("n1", "n2", "n3", "n4", "n5")
S = 1_000 * MS
PARTS = DataParts(
    group=ReplicaParts(machine=PartitionParts()),
    placement=MakePlacement(),
    controller=ControllerPart,
)


def made(node: str, nodes: Any, *, consensus: str, ablations: Any, **how: Any) -> Core:
    return DataNode(node, nodes, parts=PARTS, **how)


def world_of(seed: int, *, nodes: tuple[str, ...] = NODES, **settings: Any) -> World:
    config = ClusterConfig(node_ttl_ns=600 * MS, **{"partition_slots": 5, **settings})
    return World(
        seed=seed, nodes=nodes, founders=NODES, role="data", config=config, core=made,
        view_of=role_of("data").view_of,
    )  # fmt: skip


def placements(world: World) -> list[Placement]:
    cores: list[Any] = [world.core(node) for node in world.nodes]
    return [core.placement.placement for core in cores if core is not None]


def idle(world: World) -> bool:
    """Whether all living nodes have one map, in which nothing is under way."""
    maps = placements(world)
    partitions = [each.partitions for each in maps]
    return all(each.ready and each.partitions == partitions[0] for each in maps) and all(
        each.state == OWNED for each in partitions[0].values()
    )


def homes(world: World) -> list[str]:
    return sorted(each.group for each in placements(world)[0].partitions.values())


def owners_agree(world: World) -> None:
    """What the map says is what the groups' logs say, on every member that is up."""
    names = placements(world)[0].partitions
    for node in world.nodes:
        core: Any = world.core(node)
        for group in core.groups.names if core is not None else ():
            if group == "core":
                continue
            held = core.groups.replica(group).state.machine.store.ownership.held
            mine = {name: each for name, each in names.items() if each.group == group}
            assert {name: each.epoch for name, each in held.items()} == {
                name: each.epoch for name, each in mine.items()
            }, f"{group} at {node}"


def test_partitions_leave_a_dead_node_and_come_back() -> None:
    world = world_of(1)
    even = [f"g-{node}" for node in NODES]
    assert world.run_until(lambda: idle(world) and homes(world) == even, 10 * S)
    world.crash("n4")
    assert world.run_until(lambda: idle(world) and "g-n4" not in homes(world), 10 * S)
    assert len(homes(world)) == 5
    world.restart("n4")
    assert world.run_until(lambda: idle(world) and homes(world) == even, 10 * S)
    world.run_for(S)  # the other members of each group hear of its last entries
    owners_agree(world)
    assert world.violations == []
    elected = [note for _, _, note in world.notes if note.event == "controller-elected"]
    assert elected


def test_an_operator_splits_and_merges_ranges_at_any_node() -> None:
    world = world_of(2, partition_scheme="ranges", partition_splits=("g", "p"))
    assert world.run_until(lambda: idle(world), 10 * S)
    session = world.session("operator")
    calls: list[Call] = []
    for command in (
        Command("partition-split", "k"),
        Command("partition-merge", "p"),
        Command("partition-merge", ""),
        Command("partitions", ""),
        Command("partition-grow", ""),
    ):
        calls.append(session.submit(command, timeout_ns=5 * S))
        assert world.run_until(lambda: calls[-1].status != "", 10 * S)
    assert [each.status for each in calls] == ["ok", "ok", "fail", "ok", "fail"]
    assert "there is no operation 'partition-grow'" in calls[4].error
    lows = [row["low"] for row in calls[3].value["partitions"]]
    assert sorted(lows) == ["", "g", "k"]
    assert world.run_until(lambda: idle(world), 5 * S)
    world.run_for(S)
    owners_agree(world)
    assert world.violations == []


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (Command("put", "partitions/p00000", ("mine",)), "partitions/p00000"),
        (Command("delete", "layout"), "layout"),
        (Command("txn", "", ([], [["get", "a"]], [["put", "nodes/n1", 1]])), "nodes/n1"),
        (Command("append", "requests/r", (1,)), "requests/r"),
        (Command("put", "partition", (1,)), ""),
        (Command("get", "layout"), ""),
        (Command("txn", "", ([["controller", "version", "==", 0]], [["get", "layout"]], [])), ""),
        (Command("txn", "", ([], [7, []], "x")), ""),
    ],
)
def test_no_client_writes_the_map(command: Command, key: str) -> None:
    said = Front().problem(command)
    assert (f"the key {key!r} is the cluster's own" in said) if key else said == ""


def test_a_node_outlives_a_client_that_writes_the_map() -> None:
    world = world_of(4)
    assert world.run_until(lambda: idle(world), 10 * S)
    call = world.session("c").submit(Command("put", "partitions/p00000", ("mine",)))
    assert world.run_until(lambda: call.status != "", 10 * S)
    assert call.status == "fail" and "no client writes it" in call.error
    world.run_for(S)
    assert idle(world) and all(world.alive(node) for node in NODES)


def test_a_node_that_joins_gets_a_group_of_its_own_and_its_share() -> None:
    world = world_of(3, nodes=(*NODES, "n6"), partition_slots=6)
    world.crash("n6")  # it comes later
    even = [f"g-{node}" for node in NODES]
    assert world.run_until(lambda: idle(world) and sorted({*homes(world)}) == even, 10 * S)
    world.restart("n6")
    assert world.run_until(lambda: idle(world) and homes(world) == [*even, "g-n6"], 15 * S)
    world.run_for(S)
    owners_agree(world)
    core: Any = world.core("n6")
    assert core.groups.names == ("g-n6",)
    assert core.placement.placement.groups["g-n6"] == ("n6", "n1", "n2")
    for node in ("n1", "n2"):
        member: Any = world.core(node)
        assert "g-n6" in member.groups.names
    assert world.violations == []


def disturb(world: World, rng: random.Random) -> None:
    """Crash or restart a node, cut one off or heal all, or ask for something."""
    session = world.session("operator", timeout_ns=3 * S)
    node = rng.choice(NODES)
    match rng.randrange(6):
        case 0 | 1:
            dead = [name for name in NODES if not world.alive(name)]
            world.restart(dead[0]) if dead else world.crash(node)
        case 2:
            others = [name for name in NODES if name != node]
            cuts = {(node, name): LinkFault(cut=True) for name in others}
            cuts |= {(name, node): LinkFault(cut=True) for name in others if rng.random() < 0.7}
            world.network.set_links(cuts)
        case 3:
            world.network.set_links({})
        case 4:
            group = f"g-{rng.choice(NODES)}"
            session.submit(Command("partition-move", f"p{rng.randrange(5):05d}", (group,)))
        case _:
            op = rng.choice(["partition-split", "partition-merge"])
            session.submit(Command(op, rng.choice("bdehjmq")))


@pytest.mark.parametrize("seed", [3, 5])
def test_after_crashes_and_cuts_the_map_is_what_the_groups_have(seed: int) -> None:
    world = world_of(seed, partition_scheme="ranges", partition_splits=("c", "f", "k", "p"))
    assert world.run_until(lambda: idle(world), 10 * S)
    rng = random.Random(seed)
    for _ in range(4):
        world.run_for(rng.randrange(300, 2_000) * MS)
        disturb(world, rng)
    world.network.set_links({})
    for node in NODES:
        if not world.alive(node):
            world.restart(node)
    world.run_for(3 * S)
    assert world.run_until(lambda: idle(world), 30 * S)
    world.run_for(S)
    owners_agree(world)
    assert world.violations == []


@pytest.mark.parametrize(
    "module",
    [
        a36a_hash_divided_by_the_groups,
        a36b_hash_salted_per_process,
        a37_stale_epoch_accepted,
        a48_cached_map_is_believed,
    ],
    ids=lambda module: module.ABLATION.id,
)
def test_a_node_has_the_parts_that_the_ablations_of_placement_concern(module: Any) -> None:
    """Each part stands where ``ablate`` looks for it: in the structs of classes of a data node."""
    ablation: Ablation = module.ABLATION
    assert ablation.role == "data"
    assert ablation.part in classes_in(PARTS)


def classes_in(parts: Any) -> list[Any]:
    """The classes in a struct of classes, nested ones included."""
    found: list[Any] = []
    for field in parts.__struct_fields__:
        part = getattr(parts, field)
        found += classes_in(part) if hasattr(part, "__struct_fields__") else [part]
    return found
