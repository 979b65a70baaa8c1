"""Random transactions over data groups under a few faults, and the checker's verdict."""

from __future__ import annotations

import random
from typing import Any

from test_data_transactions import CONFIG, NODES, Clients

from checkers.core.verdict import Result
from checkers.history import History
from checkers.isolation import list_append
from cluster.config import MS
from cluster.simulation.network import LinkFault
from cluster.simulation.world import World


def random_transactions(seed: int, *ablations: str) -> tuple[Result, int]:
    """Lists and appends at random nodes; one node dies and comes back, one clock is off within the
    bound, and one node is cut off for a while.

    Returns:
        The verdict under strict serializability, and how many transactions were acknowledged.
    """
    world = World(
        seed=seed, nodes=NODES, role="data", config=CONFIG, ablations=ablations,
        check_invariants=not ablations,
    )  # fmt: skip
    world.run_for(1_500 * MS)
    dice = random.Random(seed)
    clients = Clients(world, dice, until_ns=world.heap.now_ns + 2_200 * MS)
    clients.run(300 * MS)
    victim = dice.choice(NODES)
    wrong = dice.choice([node for node in NODES if node != victim])
    world.set_clock(wrong, offset_ns=dice.choice((-15, 15)) * MS)
    world.crash(victim)
    clients.run(dice.randint(200, 500) * MS)
    world.restart(victim)
    clients.run(200 * MS)
    world.network.set_links(_cut_off(dice.choice(NODES)))
    clients.run(400 * MS)
    world.network.set_links({})
    clients.run(2_500 * MS)
    done = sum(event.type == "ok" for event in clients.events)
    return list_append()(History.from_events(clients.events)), done


def _cut_off(node: str) -> Any:
    others = [other for other in NODES if other != node]
    ends = [(node, other) for other in others] + [(other, node) for other in others]
    return dict.fromkeys(ends, LinkFault(cut=True))
