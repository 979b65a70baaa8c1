"""Each decision of placement removed: what a client then misses. The intact parts pass the same.

The ablations of partitions have no directed schedule yet; these are their counter-examples by hand.
"""

from __future__ import annotations

import pytest
from placement_world import Node, World

from cluster.ablations.a36a_hash_divided_by_the_groups import HashDividedByTheGroups
from cluster.ablations.a36b_hash_salted_per_process import HashSaltedPerProcess
from cluster.ablations.a37_stale_epoch_accepted import StaleEpochAccepted
from cluster.ablations.a48_cached_map_is_believed import CachedMapIsBelieved
from cluster.config import MS
from cluster.core.answers import Answer
from cluster.data.fixed_partitions import FixedPartitions
from cluster.data.ownership import Ownership
from cluster.data.partition_record import Layout
from cluster.data.placement import PlacementParts
from cluster.wire import Command

S = 1_000 * MS
KEYS = [f"k{n:02d}" for n in range(40)]


def settled(world: World) -> World:
    assert world.run(world.now_ns + 60 * S, stop=world.settled)
    return world


def written(world: World, node: Node, keys: list[str]) -> None:
    for key in keys:
        world.client(node, key)
    world.run(world.now_ns + S)
    assert all(len(world.acked[key]) == 1 for key in keys)


def scanned(world: World, node: Node, low: str, high: str | None) -> list[str] | None:
    """The keys that a scan finds by the node's map; None if a group refuses it."""
    found: list[str] = []
    answers: list[Answer] = []
    routes = node.placement.route_range(low, high)
    assert routes is not None
    for route, first, last in routes:
        command = Command("p-list", route.partition, (route.epoch, first, last))
        token = node.ask(node.now_ns, route.group, command, timeout_ns=S)
        node.told[token] = answers.append
    world.run(world.now_ns + S)
    assert len(answers) == len(routes)
    for status, value, _ in answers:
        if status != "ok":
            return None
        found += value
    return sorted(found)


# -- A36a, A36b: which partition a key belongs to --------------------------------------------------


def misses_after_a_join(fixed: type[FixedPartitions]) -> int:
    """How many keys written before a node joined are not where they are looked for."""
    world = settled(World(1, layout=Layout(slots=12), parts=PlacementParts(fixed=fixed)))
    node = world.nodes["n1"]
    written(world, node, KEYS)
    world.restart("n6")
    assert world.run(world.now_ns + 30 * S, stop=lambda: world.counts().get("g-n6") == 2)
    settled(world)
    return missing(world, node)


def missing(world: World, node: Node) -> int:
    found = 0
    for key in KEYS:
        route = node.placement.route(key)
        assert route is not None
        found += key in world.group(route.group).values[route.partition]
    return len(KEYS) - found


def test_a36a_keys_are_missed_after_a_node_joined() -> None:
    assert misses_after_a_join(FixedPartitions) == 0
    assert misses_after_a_join(HashDividedByTheGroups) > 10


def test_a36b_keys_are_missed_through_another_node() -> None:
    for fixed, misses in ((FixedPartitions, False), (HashSaltedPerProcess, True)):
        world = settled(World(1, parts=PlacementParts(fixed=fixed)))
        written(world, world.nodes["n1"], KEYS)
        assert missing(world, world.nodes["n1"]) == 0
        assert (missing(world, world.nodes["n2"]) > 10) is misses


# -- A37: a stale epoch ----------------------------------------------------------------------------


@pytest.mark.parametrize("ownership", [Ownership, StaleEpochAccepted])
def test_a37_a_scan_by_an_old_map_misses_what_was_split_off(ownership: type[Ownership]) -> None:
    world = settled(World(1, layout=Layout(scheme="ranges"), ownership=ownership))
    written(world, world.nodes["n1"], KEYS)
    world.cut.add("n2")  # it keeps its map
    told = world.request("n3", "partition-split", "k20")
    world.run(world.now_ns + S)
    assert told == [("ok", "")]
    assert scanned(world, world.nodes["n3"], "", None) == KEYS
    by_an_old_map = scanned(world, world.nodes["n2"], "", None)
    if ownership is Ownership:
        assert by_an_old_map is None, "the group should have refused the old epoch"
        world.nodes["n2"].watch.refuse("p00000", 1)
        world.cut.clear()
        world.run(world.now_ns + 5 * S)
        assert scanned(world, world.nodes["n2"], "", None) == KEYS
    else:
        assert by_an_old_map == KEYS[:20]


# -- A48: a cached map -----------------------------------------------------------------------------


@pytest.mark.parametrize("ownership", [Ownership, CachedMapIsBelieved])
def test_a48_what_is_written_by_an_old_map_is_lost(ownership: type[Ownership]) -> None:
    world = settled(World(1, layout=Layout(slots=5), ownership=ownership))
    world.check = lambda: None  # type: ignore[method-assign]
    node = world.nodes["n2"]
    (key, *_) = [k for k in KEYS if node.placement.route(k).partition == "p00001"]  # type: ignore[union-attr]
    world.cut.add("n2")
    # the old group is told to drop its copy late
    world.on_ask = lambda at, group, command: "lose-question" if command.op == "p-drop" else ""
    world.request("n3", "partition-move", "p00001", "g-n5")
    world.run(world.now_ns + 800 * MS)
    assert world.partitions()["p00001"]["group"] == "g-n5"
    world.client(node, key)
    world.client(world.nodes["n3"], key)
    world.run(world.now_ns + 400 * MS)
    world.on_ask = lambda at, group, command: ""
    world.cut.clear()
    world.run(world.now_ns + 5 * S)
    settled(world)
    if ownership is Ownership:
        assert len(world.acked[key]) == 1  # the one by the new map
        world.check_end()
    else:
        assert len(world.acked[key]) == 2
        with pytest.raises(AssertionError, match=f"'{key}' lost"):
            world.check_end()
