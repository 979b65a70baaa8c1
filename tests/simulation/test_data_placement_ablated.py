"""Ablations of partitions in whole nodes, step by step, with transactions as clients see them.

A37 and A48 need a node with an old map. The node is cut off from the core, and reaches the leader
of the partition's group: nodes n4 and n5 are a majority of the group g-n4, and the core is on n1 to
n3.
"""

from __future__ import annotations

from typing import Any

import pytest

from cluster.ablations.unscheduled.a36a_hash_divided_by_the_groups import HashDividedByTheGroups
from cluster.ablations.unscheduled.a36b_hash_salted_per_process import HashSaltedPerProcess
from cluster.ablations.unscheduled.a37_stale_epoch_accepted import StaleEpochAccepted
from cluster.ablations.unscheduled.a48_cached_map_is_believed import CachedMapIsBelieved
from cluster.config import MS, ClusterConfig
from cluster.core.parts import ReplicaParts
from cluster.data.controller_part import ControllerPart
from cluster.data.fixed_partitions import FixedPartitions
from cluster.data.node import DataNode
from cluster.data.ownership import Ownership
from cluster.data.partition_machine import PartitionParts
from cluster.data.parts import DataParts, PartSetting
from cluster.data.placement import PlacementParts
from cluster.data.placement_part import MakePlacement
from cluster.data.transaction_part import TransactionPart, TransactionParts
from cluster.ports import Core
from cluster.simulation.network import LinkFault
from cluster.simulation.reference import role_of
from cluster.simulation.sessions import Call
from cluster.simulation.world import World
from cluster.wire import Command

NODES = ("n1", "n2", "n3", "n4", "n5")
S = 1_000 * MS


def coordinator(setting: PartSetting) -> TransactionPart:
    services = setting.services
    return TransactionPart(
        setting.node,
        config=setting.config,
        rng=setting.rng,
        clock=TransactionParts().make_clock(setting.config, setting.clock),
        ask=services.ask,
        routes=setting.placement,
        led=lambda: [
            (group, services.machine(group))
            for group in services.groups
            if group != "core" and services.leads(group)
        ],
    )


def world_of(
    ownership: type[Ownership] = Ownership,
    *,
    fixed: type[FixedPartitions] = FixedPartitions,
    nodes: tuple[str, ...] = NODES,
    **settings: Any,
) -> World:
    parts = DataParts(
        group=ReplicaParts(machine=PartitionParts(ownership=ownership)),
        placement=MakePlacement(routing=PlacementParts(fixed=fixed)),
        controller=ControllerPart,
        coordinator=coordinator,
    )

    def made(node: str, nodes: Any, *, consensus: str, ablations: Any, **how: Any) -> Core:
        return DataNode(node, nodes, parts=parts, **how)

    config = ClusterConfig(
        node_ttl_ns=10 * S, clock_offset_bound_ns=5 * MS, transaction_timeout_ns=S, **settings
    )
    return World(
        seed=1, nodes=nodes, founders=NODES, role="data", config=config, core=made,
        view_of=role_of("data").view_of,
    )  # fmt: skip


def core(world: World, node: str) -> Any:
    return world.core(node)


def held(world: World, node: str, group: str) -> Any:
    """What a member of a group has, by its own log."""
    return core(world, node).groups.replica(group).machine.store.ownership.held


def begun(world: World) -> None:
    """Wait for the first map, and make n4 lead the group whose home it is."""

    def owned() -> bool:
        ready = all(core(world, node).placement.placement.ready for node in NODES)
        return ready and all(held(world, node, f"g-{node}") for node in NODES)

    assert world.run_until(owned, 10 * S)
    world.run_for(S)
    replica = core(world, "n4").groups.replica("g-n4")
    leader = replica.status()["leader"]
    if leader != "n4":
        move = core(world, leader).groups.replica("g-n4").consensus
        move.transfer_leadership(world.now_ns, "n4")
    assert world.run_until(lambda: core(world, "n4").groups.leads("g-n4"), 5 * S)


def run(world: World, node: str, *operations: list[Any]) -> Call:
    """A transaction at a node, to its end."""
    session = world.session(f"at-{node}", prefer=node, attempt_ns=5 * S)
    call = session.submit(Command("txn-run", "", (list(operations),)), to=node)
    assert world.run_until(lambda: call.status != "", 10 * S)
    return call


def cut_off(world: World, some: tuple[str, ...]) -> None:
    others = [node for node in NODES if node not in some]
    cuts = {(a, b): LinkFault(cut=True) for a in some for b in others}
    world.network.set_links({**cuts, **{(b, a): fault for (a, b), fault in cuts.items()}})


@pytest.mark.parametrize("ownership", [Ownership, CachedMapIsBelieved])
def test_a48_what_a_node_wrote_by_its_old_map_is_lost(ownership: type[Ownership]) -> None:
    world = world_of(ownership, partition_slots=5)
    begun(world)
    place = core(world, "n1").placement.placement
    key = next(k for k in "abcdefghijklmnopqrstuvwxyz" if place.route(k).group == "g-n4")
    assert run(world, "n1", ["append", key, 1]).status == "ok"
    moved = world.session("operator", prefer="n1").submit(
        Command("partition-move", place.route(key).partition, ("g-n2",)), to="n1"
    )
    name, epoch, _ = place.route(key)
    # the new group has the data; now n4 and n5, a majority of the old one, hear no more
    assert world.run_until(lambda: name in held(world, "n2", "g-n2"), 5 * S)
    cut_off(world, ("n4", "n5"))
    assert world.run_until(lambda: place.route(key) == (name, epoch + 1, "g-n2"), 5 * S)
    assert core(world, "n5").placement.route(key) == (name, epoch, "g-n4")
    by_the_old_map = run(world, "n5", ["append", key, 2])
    assert run(world, "n1", ["append", key, 3]).status == "ok"
    world.network.set_links({})
    assert world.run_until(lambda: moved.status != "", 10 * S)
    read = run(world, "n1", ["r", key, None])
    assert read.value == [["r", key, [1, 3]]]
    if ownership is Ownership:
        assert by_the_old_map.status in ("fail", "unknown")
    else:
        assert by_the_old_map.status == "ok"  # and it is nowhere
    assert world.violations == []


@pytest.mark.parametrize("ownership", [Ownership, StaleEpochAccepted])
def test_a37_a_scan_by_an_old_map_misses_what_was_split_off(ownership: type[Ownership]) -> None:
    splits = ("b", "c", "d", "x")
    world = world_of(ownership, partition_scheme="ranges", partition_splits=splits)
    begun(world)
    place = core(world, "n1").placement.placement
    assert place.route("d").group == "g-n4"
    for key in ("e", "q"):
        assert run(world, "n1", ["append", key, 1]).status == "ok"
    links = [("n5", node) for node in ("n1", "n2", "n3")]
    cuts = {(a, b): LinkFault(cut=True) for link in links for a, b in (link, link[::-1])}
    world.network.set_links(cuts)
    split = world.session("operator", prefer="n1").submit(Command("partition-split", "m"), to="n1")
    assert world.run_until(lambda: split.status != "", 10 * S)
    assert split.status == "ok"
    assert core(world, "n5").placement.route("q").epoch == 1
    whole = ["scan", ["d", "x"], None]
    assert run(world, "n1", whole).value == [["scan", ["d", "x"], [["e", [1]], ["q", [1]]]]]
    by_the_old_map = run(world, "n5", whole)
    if ownership is Ownership:
        assert by_the_old_map.status == "fail"
    else:
        assert by_the_old_map.value == [["scan", ["d", "x"], [["e", [1]]]]]
    assert world.violations == []


KEYS = [f"k{n}" for n in range(12)]


def found(world: World, node: str) -> int:
    """How many of the keys a node finds."""
    call = run(world, node, *(["r", key, None] for key in KEYS))
    assert call.status == "ok"
    return sum(value is not None for _, _, value in call.value)


@pytest.mark.parametrize("fixed", [FixedPartitions, HashDividedByTheGroups])
def test_a36a_keys_are_not_found_after_a_node_joined(fixed: type[FixedPartitions]) -> None:
    world = world_of(fixed=fixed, nodes=(*NODES, "n6"), partition_slots=12)
    world.crash("n6")  # it comes later
    begun(world)
    assert run(world, "n1", *(["append", key, 1] for key in KEYS)).status == "ok"
    assert found(world, "n1") == len(KEYS)
    world.restart("n6")

    def has_its_share() -> bool:
        return "g-n6" in core(world, "n1").groups.names and held(world, "n1", "g-n6")

    assert world.run_until(has_its_share, 20 * S)
    world.run_for(2 * S)
    if fixed is FixedPartitions:
        assert found(world, "n1") == len(KEYS)
    else:
        assert found(world, "n1") < len(KEYS) // 2
    assert world.violations == []


@pytest.mark.parametrize("fixed", [FixedPartitions, HashSaltedPerProcess])
def test_a36b_keys_are_not_found_through_another_node(fixed: type[FixedPartitions]) -> None:
    world = world_of(fixed=fixed, partition_slots=12)
    begun(world)
    assert run(world, "n1", *(["append", key, 1] for key in KEYS)).status == "ok"
    assert found(world, "n1") == len(KEYS)
    if fixed is FixedPartitions:
        assert found(world, "n2") == len(KEYS)
    else:
        assert found(world, "n2") < len(KEYS) // 2
    assert world.violations == []
