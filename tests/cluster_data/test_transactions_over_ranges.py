"""Transactions while ranges split, merge and move. Goal: scans see every key once, and histories
stay strict serializable. Method: seeded worlds whose partitions are key ranges; a controller that
cuts, joins and moves them at random while clients append, read and scan."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from txn_world import Client, Crasher, Node, World

from checkers.isolation import list_append
from cluster.config import MS
from cluster.data.key_range_partitions import KeyRange, KeyRangePartitions
from cluster.wire import Command


class RangeMap:
    """A node's map of key ranges."""

    def __init__(self) -> None:
        self.ranges = KeyRangePartitions([KeyRange("whole", "", None)])
        self.groups = {"whole": "g0"}

    def take(self, other: RangeMap) -> None:
        self.ranges, self.groups = other.ranges, dict(other.groups)

    def route(self, key: str) -> tuple[str, int, str]:
        found = self.ranges.find(key)
        return (found.partition, found.epoch, self.groups[found.partition])

    def route_range(self, low: str, high: str | None) -> Any:
        return [
            ((each.partition, each.epoch, self.groups[each.partition]), first, last)
            for each, first, last in self.ranges.within(low, high)
        ]

    def refuse(self, partition: str, epoch: int) -> None:
        pass


class RangeController:
    """Splits, merges and moves ranges at random; each node learns of it after a while."""

    def __init__(self, world: World, keys: list[str]) -> None:
        self.world, self.keys = world, keys
        self.map = RangeMap()
        self.named = 0
        self.done = {"split": 0, "merge": 0, "move": 0}
        world.must("g0", Command("p-own", "whole", (1, "ranges", "", None)))
        for node in world.nodes.values():
            node.crash()
            node.map = RangeMap()  # type: ignore[assignment]
            node.learn = lambda node=node: node.map.take(self.map)  # type: ignore[method-assign]
        world.after(20 * MS, self.next)

    def next(self) -> None:
        choice = self.world.rng.choice(["split", "merge", "move"])
        {"split": self.split, "merge": self.merge, "move": self.move}[choice]()

    def later(self, action: Any, delay: int) -> None:
        self.world.after(delay, action)

    def told(self, what: str) -> None:
        self.done[what] += 1
        world = self.world
        copy = RangeMap()
        copy.take(self.map)
        for node in world.nodes.values():

            def learn(node: Node = node) -> None:
                node.map.take(copy)  # type: ignore[attr-defined]

            world.after(world.rng.randint(0, 20 * MS), learn)
        self.later(self.next, 60 * MS)

    def split(self) -> None:
        at = self.world.rng.choice(self.keys)
        whole = self.map.ranges.find(at)
        if whole.low == at or len(self.map.ranges) > 5:
            self.later(self.next, 5 * MS)
            return
        self.named += 1
        right, group = f"q{self.named}", self.map.groups[whole.partition]
        args = (whole.epoch, at, whole.partition, right)
        self.world.must(group, Command("p-split", whole.partition, args))
        self.map.ranges = self.map.ranges.split(whole.partition, at, right)
        self.map.groups[right] = group
        self.told("split")

    def merge(self) -> None:
        ranges = list(self.map.ranges)
        pairs = [
            (one, other)
            for one, other in pairwise(ranges)
            if self.map.groups[one.partition] == self.map.groups[other.partition]
        ]
        if not pairs:
            self.later(self.next, 5 * MS)
            return
        one, other = self.world.rng.choice(pairs)
        args = (one.epoch, other.partition, other.epoch, one.partition)
        group = self.map.groups[one.partition]
        self.world.must(group, Command("p-merge", one.partition, args))
        self.map.ranges = self.map.ranges.merge(one.partition, other.partition)
        self.told("merge")

    def move(self) -> None:
        each = self.world.rng.choice(list(self.map.ranges))
        group = self.map.groups[each.partition]
        other = self.world.rng.choice([name for name in sorted(self.world.data) if name != group])
        self.world.must(group, Command("p-freeze", each.partition, (each.epoch,)))
        self.export(each, group, other)

    def export(self, each: KeyRange, group: str, other: str) -> None:
        world = self.world
        export = Command("p-export", each.partition, (each.epoch, 0, 1 << 20))
        status, data, _ = world.groups[group].do(export)
        if status != "ok":
            self.later(lambda: self.export(each, group, other), 5 * MS)
            return
        args = (each.epoch + 1, "ranges", each.low, each.high, *data)
        world.must(other, Command("p-adopt", each.partition, args))
        moved = KeyRange(each.partition, each.low, each.high, each.epoch + 1)
        kept = [one for one in self.map.ranges if one.partition != each.partition]
        self.map.ranges = KeyRangePartitions([*kept, moved])
        self.map.groups[each.partition] = other
        world.must(group, Command("p-drop", each.partition, (each.epoch,)))
        self.told("move")


KEYS = [f"k{n}" for n in range(6)]


class Appends:
    """Transactions of appends, reads and scans; a scan is noted as reads of all keys."""

    def __init__(self, world: World, count: int) -> None:
        self.world, self.left, self.written = world, count, 0

    def __call__(self) -> list[list[Any]] | None:
        if self.left <= 0:
            return None
        self.left -= 1
        rng = self.world.rng
        if rng.random() < 0.3:
            return [["scan", ["k", "l"], None]]
        operations: list[list[Any]] = []
        for _ in range(rng.randint(1, 3)):
            key = rng.choice(KEYS)
            if rng.random() < 0.5:
                operations.append(["r", key, None])
            else:
                self.written += 1
                operations.append(["append", key, self.written])
        return operations


def as_reads(value: Any) -> Any:
    """Operations with each scan written as reads of all keys."""
    found: list[list[Any]] = []
    for kind, key, seen in value:
        if kind != "scan":
            found.append([kind, key, seen])
            continue
        assert seen is None or [row[0] for row in seen] == sorted({row[0] for row in seen})
        held = dict(seen or [])
        found += [["r", each, held.get(each)] for each in KEYS]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_histories_while_ranges_split_merge_and_move(seed: int) -> None:
    world = World(seed)
    controller = RangeController(world, KEYS)
    for node in world.nodes.values():
        node.start()
    world.run(100 * MS)
    make = Appends(world, 140)
    note = world.note
    world.note = (  # type: ignore[method-assign]
        lambda process, kind, value, node, error="": note(
            process, kind, as_reads(value), node, error
        )
    )
    for number in range(5):
        Client(world, f"c{number}", make, interactive=0.3)
    Crasher(world, until_ns=1_200 * MS)
    world.run(5_000 * MS)
    assert min(controller.done.values()) >= 2, controller.done
    done = sum(event.type == "ok" for event in world.events)
    assert done >= 40, f"only {done} transactions committed"
    result = list_append()(world.history())
    assert result.valid, result.reason
    for group in world.data.values():
        assert not group.machine.participant.prepared
