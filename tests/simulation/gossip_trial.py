"""Random faults for nodes of role ``gossip``, and clients that ask the singleton to act."""

from __future__ import annotations

from typing import Any

from cluster.simulation.liveness import Settlement, settle
from cluster.simulation.network import LinkFault, NetworkProfile
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command


class Actors:
    """Clients that each act again and again, asking a node of their own first."""

    def __init__(self, world: World, count: int = 3) -> None:
        self.world = world
        self.outcomes: list[Any] = []
        self.acts = 0
        for number in range(count):
            self.next(f"c{number}", world.nodes[number % len(world.nodes)])

    def next(self, name: str, node: str) -> None:
        session = self.world.session(name, prefer=node, timeout_ns=2 * SECOND)
        self.acts += 1

        def done(outcome: Any) -> None:
            self.outcomes.append(outcome)
            self.world.at(50 * MS, self.next, name, node)

        session.submit(Command("act", "", (self.acts,)), to=node, done=done)

    @property
    def answered(self) -> int:
        return sum(each.status == "ok" for each in self.outcomes)


def cut(world: World, one: list[str], other: list[str]) -> None:
    """Nothing passes between the two."""
    gone = LinkFault(cut=True)
    sides = ((one, other), (other, one))
    world.network.set_links({(a, b): gone for side, far in sides for a in side for b in far})


def one_fault(world: World, dice: Any) -> None:
    """Begin a fault; its end is on the heap."""
    nodes = list(world.nodes)
    dice.shuffle(nodes)
    lasts_ns = dice.randrange(200, 7_000) * MS
    kind = dice.choice(("cut", "cut", "lossy", "crash", "pause", "slow", "clock", "torn"))
    if kind == "cut":
        at = dice.randrange(1, len(nodes))
        cut(world, nodes[:at], nodes[at:])
        world.at(lasts_ns, world.network.set_links, {})
    elif kind == "lossy":
        bad = LinkFault(loss=0.3, duplicate=0.2, reorder=0.3, jitter_ns=50 * MS)
        world.network.set_links({(a, b): bad for a in nodes for b in nodes if a != b})
        world.at(lasts_ns, world.network.set_links, {})
    elif kind in ("crash", "torn"):
        for node in nodes[: dice.randrange(1, 3)]:
            world.crash(node, torn=kind == "torn")
            world.at(lasts_ns, world.restart, node)
    elif kind == "pause":
        for node in nodes[: dice.randrange(1, 3)]:
            world.pause(node)
            world.at(lasts_ns, world.resume, node)
    elif kind == "slow":
        world.set_disk(nodes[0], {"latency_ns": dice.randrange(1, 400) * MS})
        world.at(lasts_ns, world.set_disk, nodes[0], {})
    else:
        world.set_clock(nodes[0], offset_ns=SECOND, rate=dice.choice((0.8, 1.2)))
        world.at(lasts_ns, world.set_clock, nodes[0])


def random_run(
    seed: int, *, nodes: int = 0, faults: int = 12, **options: Any
) -> tuple[World, Actors, Settlement]:
    """Random faults, one after another and at the same time, then the liveness phase."""
    count = nodes or 3 + seed % 4
    world = World(
        seed=seed, role="gossip", nodes=[f"n{number + 1}" for number in range(count)],
        network=NetworkProfile(loss=0.02 * (seed % 3), duplicate=0.02), **options,
    )  # fmt: skip
    actors, dice = Actors(world), world.rng("trial")
    for _ in range(faults):
        one_fault(world, dice)
        world.run_for(dice.randrange(100, 4_000) * MS)
    return world, actors, settle(world)
