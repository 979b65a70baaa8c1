"""What a seed of transactions on role ``data`` draws beside what every seed draws.

How transactions are isolated and whether they scan, how keys are divided, by how much clocks may
differ, how soon orphans are ended, nodes counted out, timestamps closed and versions collected; and
faults of its own: partitions that move, split and merge, and clocks that are wrong within the bound
instead of anyhow, since beyond it strict serializability is not promised.

Used by :mod:`cluster.simulation.profiles`.
"""

from __future__ import annotations

import random
from typing import Any

from cluster.config import MS, ClusterConfig
from cluster.data.isolation_levels import LEVELS
from cluster.simulation.disk import DiskProfile
from cluster.simulation.network import NetworkProfile

#: Where ranges may be cut at first, among the keys of a load.
_CUTS = ((), ("k1",), ("k1", "k2", "k4"))
#: Faults of partitions, and those of them that only ranges have.
MOVE, OF_RANGES = "partition-move", ("partition-split", "partition-merge")
#: How often a node renews its lease while it lasts, and the part of it that all renewals may take.
RENEWALS, RENEWED_OF_LEASE = 3, 4
#: What a fault is replaced by.
_INSTEAD = {"clock": "clock-bounded"}


def settings(source: random.Random) -> dict[str, Any]:
    """Settings of the nodes, by the names of ``ClusterConfig``."""
    ranges = source.random() < 0.5
    return {
        "partition_scheme": "ranges" if ranges else "slots",
        "partition_slots": source.choice((3, 8)),
        "partition_splits": source.choice(_CUTS) if ranges else (),
        "clock_offset_bound_ns": source.choice((5, 20, 50)) * MS,
        "clock_reserve_ns": source.choice((100, 2_000)) * MS,
        "orphan_after_ns": source.choice((200, 1_000)) * MS,
        "transaction_timeout_ns": source.choice((1_000, 5_000)) * MS,
        "node_ttl_ns": source.choice((700, 3_000)) * MS,
        "close_interval_ns": source.choice((50, 200)) * MS,
        "close_lag_ns": source.choice((100, 1_000)) * MS,
        "collect_interval_ns": source.choice((300, 5_000)) * MS,
        "retention_ns": source.choice((1_000, 30_000)) * MS,
    }


def lease_ns(network: NetworkProfile, disk: DiskProfile, config: ClusterConfig, nodes: int) -> int:
    """The shortest time for which nodes' leases may be drawn: the core needs a part of it for the
    renewals of all. With less, leases end although all nodes live, and the core has no time left
    for anything but ending and granting them.

    Args:
        network, disk: how long messages and syncs take.
        config: how many entries are under way at once.
        nodes: how many renew.
    """
    round_ns = network.delay_min_ns + network.delay_max_ns + disk.sync_min_ns + disk.sync_max_ns
    at_once = config.inflight_max * config.batch_entries_max
    return RENEWED_OF_LEASE * RENEWALS * nodes * round_ns // at_once


def transactions(source: random.Random) -> tuple[str, float, int]:
    """What transactions ask for: their isolation, the share of scans among their reads; and the
    most bytes of a part of a partition that moves."""
    level = source.choice((*LEVELS, "strict-serializable"))
    return level, source.choice((0.0, 0.2, 0.5)), source.choice((200, 512 * 1024))


def faults(source: random.Random, drawn: tuple[str, ...], *, ranges: bool) -> tuple[str, ...]:
    """The kinds of faults, of those that were drawn and of its own.

    Args:
        source: randomness.
        drawn: what any seed might draw.
        ranges: whether keys are divided in ranges.
    """
    kinds = {_INSTEAD.get(kind, kind) for kind in drawn}
    own = (MOVE, *OF_RANGES) if ranges else (MOVE,)
    return tuple(sorted(kinds | {kind for kind in own if source.random() < 0.7}))
