"""One trial of damage: a cluster with a lagging node, of which another node's files are damaged.

Three nodes take writes. One is cut off, and the other two acknowledge more. One of those two is
killed and one of its files damaged. Now the damaged and the lagging node alone can hear each other:
the worst place to forget something. Then all hear all, and everything acknowledged must be there.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from cluster.config import ClusterConfig
from cluster.simulation.damaging import damage
from cluster.simulation.disk import DiskProfile
from cluster.simulation.file_damage import KINDS, FileDamage
from cluster.simulation.liveness import settle
from cluster.simulation.network import LinkFault
from cluster.simulation.randomness import derive
from cluster.simulation.world import MS, SECOND, US, World
from cluster.wire import Command


class Trial(NamedTuple):
    """What came of it: ``refused`` is the sentence of a node that does not start."""

    damage: FileDamage | None
    recovering: bool
    refused: str
    lost: list[str]


def cut_off(world: World, node: str) -> None:
    others = [name for name in world.nodes if name != node]
    links = [(node, other) for other in others] + [(other, node) for other in others]
    world.network.set_links(dict.fromkeys(links, LinkFault(cut=True)))


def run_trial(seed: int, kind: str = "", consensus: str = "raft") -> Trial:
    source = derive(seed, "damage")
    kind = kind or KINDS[seed % len(KINDS)]
    world = World(
        seed=seed,
        consensus=consensus,
        config=ClusterConfig(
            segment_bytes=source.choice((2048, 4096, 1 << 20)),
            snapshot_entries=source.choice((25, 60, 10_000)),
            snapshot_keep_entries=source.choice((0, 10)),
        ),
        disk=DiskProfile(sync_min_ns=200 * US, sync_max_ns=600 * US),
    )
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND)
    writer = Writer(world, source)
    writer.write(source.randint(20, 60))
    nodes = list(world.nodes)
    source.shuffle(nodes)
    lagging, victim, sound = nodes
    older = world.disk(victim).files()
    cut_off(world, lagging)
    writer.write(source.randint(10, 60))
    if source.random() < 0.5:  # the newest promise is not synced yet, and the process dies
        writer.write(1)
    else:
        world.run_for(SECOND)
    done = damage(world, victim, kind, source, older=older)
    # The damaged and the lagging node have only each other.
    cut_off(world, sound)
    world.run_for(source.choice((0, 50)) * MS)
    world.restart(victim)
    recovering = bool((world.status(victim) or {}).get("recovering"))
    world.run_for(3 * SECOND)
    if source.random() < 0.3:  # and once more
        world.crash(victim)
        world.restart(victim)
        world.run_for(SECOND)
    world.network.set_links({})
    world.run_for(2 * SECOND)
    settlement = settle(world)
    lost = [] if settlement.ok else [str(settlement)]
    status = world.status(victim)
    if status is not None and status["recovering"]:
        lost.append(f"{victim} is not repaired: {status}")
    return Trial(done, recovering, world.why_down(victim), lost)


class Writer:
    """A client that writes and waits for each answer; the world remembers what was acknowledged."""

    def __init__(self, world: World, source: random.Random) -> None:
        self.world, self.source, self.count = world, source, 0
        self.session = world.session("writer", timeout_ns=20 * SECOND, attempt_ns=200 * MS)

    def write(self, count: int) -> None:
        for _ in range(count):
            self.count += 1
            item = f"{self.count}:" + "x" * self.source.choice((1, 30, 200))
            key = f"k{self.source.randrange(3)}"
            call = self.session.submit(Command("append", key, (item,)))
            assert self.world.run_until(lambda call=call: bool(call.status), 30 * SECOND)
            assert call.status == "ok", call
