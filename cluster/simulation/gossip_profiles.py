"""What random profiles of role ``gossip`` have of their own: many nodes, faults as long as rounds.

Gossip counts in rounds, and so do the faults here: a partition that is shorter than a suspicion
changes no view. There are 3 to 50 nodes, few in most seeds: what a seed costs grows with them.
Faults that change members or leadership by request are none of this role, and a disk that is
damaged for good is refused by it. Used by :mod:`cluster.simulation.swarm`.
"""

from __future__ import annotations

import msgspec

from cluster.gossip.emergent_leader import agree_rounds
from cluster.gossip.group_membership import heal_rounds
from cluster.simulation.profiles import SwarmOptions
from cluster.simulation.randomness import derive
from cluster.simulation.world import MS, World

#: How many nodes are drawn, and the fewest and most that may be asked for.
NODES = (3, 3, 4, 5, 5, 7, 9, 16, 30, 50)
NODES_MIN, NODES_MAX = 3, 50
#: The faults that nodes of this role can have.
FAULTS = (
    "partition", "packets", "held-frame", "crash", "crash-many", "pause", "clock", "disk-once",
    "power",
)  # fmt: skip


def for_gossip(seed: int, drawn: SwarmOptions, *, nodes: int, faults: bool) -> SwarmOptions:
    """The options of a seed with what nodes of this role need.

    Args:
        seed: which.
        drawn: what it drew for any role.
        nodes: how many were asked for; 0 to draw.
        faults: whether the faults were asked for.

    Raises:
        ValueError: a fault that was asked for is none of this role.
    """
    source = derive(seed, "swarm", "gossip")
    round_ns = source.choice((50, 100, 200)) * MS
    kinds = tuple(sorted(source.sample(FAULTS, source.choice((1, 2, 2, 3, 4, 6)))))
    if faults:
        for kind in drawn.faults:
            if kind not in FAULTS:
                known = ", ".join(FAULTS)
                raise ValueError(f"nodes of role gossip have no fault {kind!r}: {known}")
        kinds = drawn.faults
    config = msgspec.structs.replace(
        drawn.config, gossip_round_ns=round_ns, gossip_ack_ns=round_ns * 2 // 5
    )
    return msgspec.structs.replace(
        drawn,
        nodes=nodes or source.choice(NODES),
        config=config,
        faults=kinds,
        clients=source.randint(2, 5),
        window=1,
        think_ns=source.choice((20, 50, 100)) * MS,
        timeout_ns=max(drawn.timeout_ns, 500 * MS),
        interval_ns=source.choice((3, 8, 20)) * round_ns * max(1, len(kinds) // 2),
        duration_ns=source.choice((2, 10, 25)) * round_ns,
    )


def settle_ns(world: World) -> int:
    """How long a healed group may take until all views are equal and agreed on: the bounds of
    :mod:`cluster.gossip.group_membership` and :mod:`cluster.gossip.emergent_leader`."""
    count = len(world.nodes)
    rounds = heal_rounds(count, world.config) + agree_rounds()
    return rounds * world.config.gossip_round_ns
