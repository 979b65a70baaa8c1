"""Profiles: everything about a run drawn from its seed, faults and their absence included.

One fixed mix of faults explores one corner. Swarm testing (Groce et al., ISSTA 2012) draws the mix
itself: which kinds of faults there are at all, how often, how long; how many nodes, clients and
keys; how slow and unruly the network is; how small segments and snapshots are. A seed with no
crashes but constant reordering finds what no average seed does.

Two profiles say from what is drawn, and each seed draws its profile first:

    calm     the cluster's own timings; faults a second apart; clients that hardly think
    harsh    elections after 60 to 120 ms, faults of 30 to 300 ms every 60 to 300 ms, small batches,
             clients that think; all kinds of faults and of reads; even numbers of nodes too

A harsh seed holds about four times the elections of a calm one for the same processor time, and
what goes wrong in protocols goes wrong around elections.

Used by :mod:`cluster.simulation.swarm`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from cluster.config import ClusterConfig
from cluster.simulation import data_profiles
from cluster.simulation.disk import DiskProfile
from cluster.simulation.faults.table import CALM_KINDS, kinds_for
from cluster.simulation.network import NetworkProfile
from cluster.simulation.randomness import derive

US = 1_000
MS = 1_000_000

#: Transactions over lists, on nodes of role ``data`` only.
TRANSACTIONS = "transactions"
#: The operations of clients: ``register`` (get, put, cas), ``append`` (get, append), ``mixed``
#: (both), or transactions.
WORKLOADS = ("register", "append", "mixed", TRANSACTIONS)
#: The workloads drawn where none is asked for.
KEY_WORKLOADS = WORKLOADS[:3]
#: Fewest and most nodes a profile may be asked for.
NODES_MIN, NODES_MAX = 1, 9

#: Clock rates that no lease can be expected to survive, and those that it must: the fastest over
#: the slowest is below what ``lease_read_margin`` leaves.
WILD_RATES = (0.5, 0.9, 0.99, 1.01, 1.1, 2.0)
LEASE_RATES = (0.8, 0.9, 0.99, 1.01, 1.1, 1.2)


#: Kinds of faults that are asked for and do not share the time; more of them do.
KINDS_UNSHARED = 3
#: How many faults there are at once, in the mean, where many kinds were asked for. Transactions
#: have no more than the last of these.
FAULTS_AT_ONCE = (1, 2, 4)


class SwarmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The draws of a seed; everything a reader needs to understand the run.

    Args:
        profile: ``calm`` or ``harsh``.
        nodes: number of nodes.
        clients, keys: number of clients and keys.
        workload: one of WORKLOADS.
        read_modes: of which each read draws one; a mode may be there more than once.
        isolation: level of transactions.
        scans: share of scans among the reads of transactions.
        window: operations of one client under way at once.
        think_ns: mean time between a client's operations.
        timeout_ns: deadline of an operation.
        attempt_ns: how long a client waits for one node before it asks another.
        faults: kinds of faults that happen at all.
        interval_ns: mean time between two injections of one kind.
        duration_ns: mean time a fault lasts.
        cut_clients: whether partitions separate clients from nodes too.
        clock_rates: what a clock fault makes of a monotonic clock.
        network, disk, config: profiles and settings.
    """

    profile: str
    nodes: int
    clients: int
    keys: int
    workload: str
    read_modes: tuple[str, ...] = ("linearizable",)
    isolation: str = "strict-serializable"
    scans: float = 0.0
    window: int = 1
    think_ns: int
    timeout_ns: int
    attempt_ns: int
    faults: tuple[str, ...]
    interval_ns: int
    duration_ns: int
    cut_clients: bool
    clock_rates: tuple[float, ...] = WILD_RATES
    network: NetworkProfile
    disk: DiskProfile
    config: ClusterConfig


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a campaign; everything else is drawn.

    Args:
        consensus: the variant all nodes run.
        faults: the kinds of faults there shall be; empty to draw them. More than three share the
            time.
        workload, profile: by name, or several names with commas, of which a seed draws one; "" to
            draw as ever.
        nodes: how many; 0 to draw.
    """

    consensus: str = "raft"
    faults: tuple[str, ...] = ()
    workload: str = ""
    profile: str = ""
    nodes: int = 0


def check_wishes(wishes: Wishes, *, nodes: tuple[int, int] = (NODES_MIN, NODES_MAX)) -> None:
    """Refuse what no seed can draw.

    Args:
        wishes: which.
        nodes: the fewest and most nodes that may be asked for.

    Raises:
        ValueError: an unknown workload or profile, or a number of nodes out of range.
    """
    for what, named, known in (
        ("workload", wishes.workload, WORKLOADS),
        ("profile", wishes.profile, PROFILES),
    ):
        for name in named.split(",") if named else ():
            if name not in known:
                raise ValueError(f"there is no {what} {name!r}: {', '.join(known)}")
    if wishes.nodes and not nodes[0] <= wishes.nodes <= nodes[1]:
        raise ValueError(f"nodes is {wishes.nodes}: from {nodes[0]} to {nodes[1]} can be asked")


def draw(seed: int, wishes: Wishes = Wishes()) -> SwarmOptions:  # noqa: B008 (frozen)
    """The options of a seed.

    Args:
        seed: which.
        wishes: what is not drawn. A wish changes nothing else that the seed draws, but for the
            interval of many kinds of faults (:func:`_shared_interval_ns`).
    """
    drawn = derive(seed, "swarm", "profile").choice(PROFILES_DRAWN)
    source = derive(seed, "swarm", "options")
    profile = _one_of(seed, "profile", wishes.profile) or drawn
    options = PROFILES[profile](source, kinds_for(wishes.consensus))
    changes: dict[str, object] = {}
    if wishes.faults:
        changes["faults"] = tuple(sorted(wishes.faults))
        changes["interval_ns"] = _shared_interval_ns(seed, options, len(wishes.faults))
    if wishes.workload:
        changes["workload"] = _one_of(seed, "workload", wishes.workload)
    if wishes.nodes:
        changes["nodes"] = wishes.nodes
    drawn_options = msgspec.structs.replace(options, **changes) if changes else options
    if drawn_options.workload == TRANSACTIONS:
        return _of_transactions(seed, drawn_options, wishes)
    return drawn_options


def _shared_interval_ns(seed: int, options: SwarmOptions, kinds: int) -> int:
    """The interval of each kind where ``kinds`` were asked for instead of those drawn.

    A few kinds are injected as often as if they had been drawn. Many share the time: else all of
    them overlap for the whole run, nothing completes, and the seed says nothing. How many faults
    there are at once, in the mean, is drawn, so that seeds differ in how calm their gaps are.
    """
    if kinds <= KINDS_UNSHARED:
        return options.interval_ns
    of_one_ns = options.interval_ns
    if options.profile == "harsh":  # where what was drawn shares the time already
        of_one_ns //= _sharing(len(options.faults))
    return max(of_one_ns * _sharing(kinds), _calmer_ns(seed, kinds, options.duration_ns))


def _calmer_ns(seed: int, kinds: int, duration_ns: int) -> int:
    """The interval with which there are as many faults at once as the seed draws here."""
    at_once = derive(seed, "swarm", "at-once").choice(FAULTS_AT_ONCE)
    return kinds * duration_ns // at_once


def _sharing(kinds: int) -> int:
    """By how much longer the interval of each kind is if there are so many."""
    return max(1, kinds // 2)


def _of_transactions(seed: int, options: SwarmOptions, wishes: Wishes) -> SwarmOptions:
    """The same seed, with what transactions need."""
    source = derive(seed, "swarm", "data")
    config = msgspec.structs.replace(options.config, **data_profiles.settings(source))
    ranges = config.partition_scheme == "ranges"
    own = data_profiles.faults(source, options.faults, ranges=ranges)
    nodes, keys = source.choice((3, 5, 5)), source.choice((2, 4, 8))
    isolation, scans, part_bytes = data_profiles.transactions(source)
    faults = options.faults if wishes.faults else own
    interval_ns = options.interval_ns
    if len(faults) * options.duration_ns > max(FAULTS_AT_ONCE) * interval_ns:
        # A transaction needs a map, and a leader of each group that it touches.
        interval_ns = _calmer_ns(seed, len(faults), options.duration_ns)
    nodes = wishes.nodes or nodes
    needed_ns = data_profiles.lease_ns(options.network, options.disk, config, nodes)
    config = msgspec.structs.replace(
        config, partition_part_bytes=part_bytes, node_ttl_ns=max(config.node_ttl_ns, needed_ns)
    )
    return msgspec.structs.replace(
        options,
        config=config,
        isolation=isolation,
        scans=scans,
        nodes=nodes,
        keys=keys,
        think_ns=max(options.think_ns, 5 * MS),
        timeout_ns=max(options.timeout_ns, 500 * MS),
        read_modes=("linearizable",),
        faults=faults,
        interval_ns=interval_ns,
    )


def _one_of(seed: int, what: str, names: str) -> str:
    found = names.split(",")
    return found[0] if len(found) == 1 else derive(seed, "swarm", "wish", what).choice(found)


# -- calm


def _calm(source: random.Random, kinds: Sequence[str]) -> SwarmOptions:
    number = source.choice((1, 1, 2, 2, 3, 4, 7))
    drawn = source.sample(CALM_KINDS, number)
    return SwarmOptions(
        profile="calm",
        nodes=source.choice((3, 3, 3, 5)),
        clients=source.randint(2, 8),
        keys=source.choice((1, 1, 2, 3, 5)),
        workload=source.choice(("register", "register", "append")),
        think_ns=source.choice((2, 5, 20)) * MS,
        timeout_ns=source.choice((500, 2000, 5000)) * MS,
        attempt_ns=source.choice((100, 300, 1000)) * MS,
        faults=tuple(sorted(drawn)),
        interval_ns=source.choice((300, 1000, 2500)) * MS,
        duration_ns=source.choice((100, 700, 2000)) * MS,
        cut_clients=source.random() < 0.3,
        network=_calm_network(source),
        disk=_calm_disk(source),
        config=_calm_config(source),
    )


def _calm_network(source: random.Random) -> NetworkProfile:
    low = source.choice((50, 200, 1000)) * US
    return NetworkProfile(
        delay_min_ns=low,
        delay_max_ns=low * source.choice((2, 5, 20)),
        slow_probability=source.choice((0.0, 0.0, 0.01)),
        slow_ns=100 * MS,
        ordered=source.random() < 0.75,
        loss=source.choice((0.0, 0.0, 0.01, 0.05)),
        duplicate=source.choice((0.0, 0.0, 0.02)),
    )


def _calm_disk(source: random.Random) -> DiskProfile:
    low = source.choice((50, 200, 2000)) * US
    return DiskProfile(
        sync_min_ns=low,
        sync_max_ns=low * source.choice((2, 5)),
        slow_probability=source.choice((0.0, 0.01, 0.05)),
        slow_ns=50 * MS,
    )


def _calm_config(source: random.Random) -> ClusterConfig:
    snapshot_entries = source.choice((20, 100, 10_000))
    return ClusterConfig(
        prevote=source.random() < 0.8,
        check_quorum=source.random() < 0.7,
        segment_bytes=source.choice((4, 16, 1024)) * 1024,
        snapshot_entries=snapshot_entries,
        snapshot_keep_entries=source.choice((0, 5, snapshot_entries // 2)),
        snapshot_chunk_bytes=source.choice((256, 64 * 1024)),
        inflight_max=source.choice((1, 4, 256)),
        batch_entries_max=source.choice((1, 8, 512)),
    )


# -- harsh


def _harsh(source: random.Random, kinds: Sequence[str]) -> SwarmOptions:
    number = source.choice((1, 2, 2, 3, 3, 4, 6))
    drawn = source.sample(kinds, min(number, len(kinds)))
    modes = source.choice(_READ_MODES)
    return SwarmOptions(
        profile="harsh",
        nodes=source.choice((3, 3, 4, 5)),
        clients=source.randint(2, 6),
        keys=source.choice((1, 1, 2, 3)),
        workload=source.choice(KEY_WORKLOADS),
        read_modes=modes,
        window=source.choice((1, 1, 1, 2, 4)),
        think_ns=source.choice((20, 40, 100)) * MS,
        timeout_ns=source.choice((200, 500, 2000)) * MS,
        attempt_ns=source.choice((50, 100, 300)) * MS,
        faults=tuple(sorted(drawn)),
        interval_ns=source.choice((60, 120, 300)) * MS * _sharing(len(drawn)),
        duration_ns=source.choice((30, 100, 300)) * MS,
        cut_clients=source.random() < 0.3,
        clock_rates=LEASE_RATES if "lease" in modes else WILD_RATES,
        network=_harsh_network(source),
        disk=_harsh_disk(source),
        config=_harsh_config(source),
    )


#: Most seeds read in one way only: what one kind of read hides another shows.
_READ_MODES = (
    ("linearizable",),
    ("linearizable",),
    ("lease",),
    ("follower",),
    ("linearizable", "lease", "follower", "stale"),
    ("linearizable", "stale"),
)


def _harsh_network(source: random.Random) -> NetworkProfile:
    low = source.choice((50, 200, 500)) * US
    return NetworkProfile(
        delay_min_ns=low,
        delay_max_ns=low * source.choice((2, 5, 10)),
        slow_probability=source.choice((0.0, 0.0, 0.02)),
        slow_ns=30 * MS,
        ordered=source.random() < 0.6,
        loss=source.choice((0.0, 0.0, 0.02)),
        duplicate=source.choice((0.0, 0.0, 0.05)),
    )


def _harsh_disk(source: random.Random) -> DiskProfile:
    low = source.choice((50, 200, 1000)) * US
    return DiskProfile(
        sync_min_ns=low,
        sync_max_ns=low * source.choice((2, 5, 10)),
        slow_probability=source.choice((0.0, 0.02, 0.1)),
        slow_ns=30 * MS,
    )


def _harsh_config(source: random.Random) -> ClusterConfig:
    snapshot_entries = source.choice((5, 20, 10_000, 10_000))
    return ClusterConfig(
        heartbeat_ns=source.choice((10, 15, 20)) * MS,
        election_min_ns=60 * MS,
        election_max_ns=120 * MS,
        prevote=source.random() < 0.7,
        check_quorum=source.random() < 0.7,
        segment_bytes=source.choice((2, 8, 1024)) * 1024,
        snapshot_entries=snapshot_entries,
        snapshot_keep_entries=source.choice((0, 3, snapshot_entries // 2)),
        snapshot_chunk_bytes=source.choice((64, 512, 64 * 1024)),
        inflight_max=source.choice((1, 2, 8)),
        batch_entries_max=source.choice((1, 1, 2, 8)),
        apply_entries_max=source.choice((0, 0, 1, 3)),
    )


PROFILES: dict[str, Callable[[random.Random, Sequence[str]], SwarmOptions]] = {
    "calm": _calm,
    "harsh": _harsh,
}
#: How often each is drawn.
PROFILES_DRAWN = ("calm", "calm", "harsh", "harsh", "harsh")
