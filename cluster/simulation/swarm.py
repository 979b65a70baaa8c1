"""Random profiles: everything about a run drawn from its seed, faults and their absence included.

One fixed mix of faults explores one corner. Swarm testing (Groce et al., ISSTA 2012) draws the mix
itself: which kinds of faults there are at all, how often, how long; how many nodes, clients and
keys; how slow and unruly the network is; how small segments and snapshots are. A seed with no
crashes but constant reordering finds what no average seed does.

A run has a safety phase under faults, with invariants checked after every event, and then the
liveness phase of :mod:`cluster.simulation.liveness`. What clients saw is returned as events for a
checker. Everything follows from the seed: ``run_swarm(7)`` is always the same run.

Used by campaigns (``harness explore``), benchmarks and tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from cluster.config import ClusterConfig
from cluster.core.member_requests import MEMBER_OPS
from cluster.simulation.damaging import damage
from cluster.simulation.disk import DiskProfile
from cluster.simulation.file_damage import KINDS
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.liveness import Settlement, settle
from cluster.simulation.membership_churn import MembershipChurn
from cluster.simulation.network import LinkFault, NetworkProfile
from cluster.simulation.randomness import derive
from cluster.simulation.sessions import ClientEvent, client_events
from cluster.simulation.world import MS, SECOND, US, World
from cluster.wire import Command

FAULT_KINDS = ("partition", "packets", "crash", "crash-many", "pause", "clock", "disk")
#: A kind that is never drawn: who wants it asks for it, and all else is as the seed had it before.
MEMBERSHIP = "membership"
#: Nor are these: a node is killed, its files are damaged, and it starts again.
DAMAGES = {"disk-lost-tail": ("lost-tail",), "disk-flip": ("flip",), "disk-damage": KINDS}


class SwarmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a seed drew; everything a reader needs to understand the run.

    Args:
        nodes: number of nodes.
        clients, keys: number of clients and keys.
        workload: ``register`` (get, put, cas) or ``append`` (get, append).
        think_ns: mean time between a client's operations.
        timeout_ns: deadline of an operation.
        attempt_ns: how long a client waits for one node before it asks another.
        faults: kinds of faults that happen at all.
        interval_ns: mean time between two injections of one kind.
        duration_ns: mean time a fault lasts.
        cut_clients: whether partitions separate clients from nodes too.
        network, disk, config: profiles and settings.
    """

    nodes: int
    clients: int
    keys: int
    workload: str
    think_ns: int
    timeout_ns: int
    attempt_ns: int
    faults: tuple[str, ...]
    interval_ns: int
    duration_ns: int
    cut_clients: bool
    network: NetworkProfile
    disk: DiskProfile
    config: ClusterConfig


class SwarmFault(msgspec.Struct):
    """One fault of a run.

    Args:
        kind: one of FAULT_KINDS or DAMAGES, or MEMBERSHIP.
        nodes: the nodes it was done to.
        value: what was done, JSON-ready.
        begin_ns: virtual time of the injection.
        end_ns: virtual time of the heal; -1 if the safety phase ended before.
    """

    kind: str
    nodes: list[str]
    value: dict[str, Any]
    begin_ns: int
    end_ns: int = -1


class SwarmRun(msgspec.Struct):
    """What a run did.

    Args:
        seed: its seed.
        options: what the seed drew.
        events: what clients saw, in order.
        violation: the invariant that broke, as text; empty if none did.
        settlement: how the liveness phase ended; None if a violation came first.
        injected: how many faults of each kind were made.
        faults: each of them, in order of beginning.
        changed: how many changes of members of each kind were acknowledged.
        trace_hash: digest of every event.
        world_events: events of the world, for speed measurements.
        virtual_ns: virtual time.
    """

    seed: int
    options: SwarmOptions
    events: list[ClientEvent]
    violation: str
    settlement: Settlement | None
    injected: dict[str, int]
    faults: list[SwarmFault]
    changed: dict[str, int]
    trace_hash: str
    world_events: int
    virtual_ns: int


def faults_of(nemesis: str) -> tuple[str, ...]:
    """The kinds of faults a nemesis stands for: ``kill`` is ``crash`` and ``crash-many``.

    Raises:
        ValueError: a word of it has no fault here.
    """
    kinds: list[str] = []
    for word in nemesis.replace(" ", "").split(","):
        found = ("crash", "crash-many") if word == "kill" else (word,)
        if found[0] not in (*FAULT_KINDS, MEMBERSHIP, *DAMAGES):
            raise ValueError(
                f"there is no fault {word!r}; there are kill, {', '.join(FAULT_KINDS)}, "
                f"{MEMBERSHIP}, {', '.join(DAMAGES)}"
            )
        kinds.extend(found)
    return tuple(sorted(set(kinds)))


def draw(seed: int, *, faults: Sequence[str] = ()) -> SwarmOptions:
    """The options of a seed.

    Args:
        seed: which.
        faults: the kinds of faults there shall be; empty to draw those too.
    """
    source = derive(seed, "swarm", "options")
    number = source.choice((1, 1, 2, 2, 3, 4, 7))
    drawn = source.sample(FAULT_KINDS, number)
    return SwarmOptions(
        nodes=source.choice((3, 3, 3, 5)),
        clients=source.randint(2, 8),
        keys=source.choice((1, 1, 2, 3, 5)),
        workload=source.choice(("register", "register", "append")),
        think_ns=source.choice((2, 5, 20)) * MS,
        timeout_ns=source.choice((500, 2000, 5000)) * MS,
        attempt_ns=source.choice((100, 300, 1000)) * MS,
        faults=tuple(sorted(faults or drawn)),
        interval_ns=source.choice((300, 1000, 2500)) * MS,
        duration_ns=source.choice((100, 700, 2000)) * MS,
        cut_clients=source.random() < 0.3,
        network=_draw_network(source),
        disk=_draw_disk(source),
        config=_draw_config(source),
    )


def _draw_network(source: random.Random) -> NetworkProfile:
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


def _draw_disk(source: random.Random) -> DiskProfile:
    low = source.choice((50, 200, 2000)) * US
    return DiskProfile(
        sync_min_ns=low,
        sync_max_ns=low * source.choice((2, 5)),
        slow_probability=source.choice((0.0, 0.01, 0.05)),
        slow_ns=50 * MS,
    )


def _draw_config(source: random.Random) -> ClusterConfig:
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


def run_swarm(
    seed: int,
    *,
    consensus: str = "raft",
    ablations: Sequence[str] = (),
    faults: Sequence[str] = (),
    membership: bool = False,
    duration_ns: int = 6 * SECOND,
    options: SwarmOptions | None = None,
    check_invariants: bool | None = None,
) -> SwarmRun:
    """One run.

    Args:
        seed: everything follows from it.
        consensus: the variant all nodes run.
        ablations: ids of the ablations all nodes run with.
        faults: the kinds of faults there shall be; empty to draw those too.
        membership: change members too, among the faults.
        duration_ns: virtual time under faults, before the liveness phase.
        options: None to draw them from the seed.
        check_invariants: None to check them exactly when nothing is ablated.
    """
    drawn = options or draw(seed, faults=faults)
    if membership and MEMBERSHIP not in drawn.faults:
        drawn = msgspec.structs.replace(drawn, faults=(*drawn.faults, MEMBERSHIP))
    world = World(
        seed=seed,
        nodes=tuple(f"n{number + 1}" for number in range(drawn.nodes)),
        config=drawn.config,
        consensus=consensus,
        ablations=ablations,
        network=drawn.network,
        disk=drawn.disk,
        check_invariants=not ablations if check_invariants is None else check_invariants,
    )
    gremlin = Gremlin(world, drawn, end_ns=duration_ns)
    for number in range(drawn.clients):
        _Load(world, drawn, f"c{number + 1}", end_ns=duration_ns)
    violation, settlement, steps = "", None, 0
    try:
        steps = world.run_for(duration_ns)
        gremlin.stop()
        settlement = settle(world)
    except InvariantViolation as broken:
        violation = str(broken)
    digest = world.trace_hash()
    return SwarmRun(
        seed=seed,
        options=drawn,
        events=[event for event in client_events(world) if event.f not in MEMBER_OPS],
        violation=violation,
        settlement=settlement,
        injected=gremlin.injected,
        faults=gremlin.faults,
        changed=gremlin.churn.done,
        trace_hash=digest,
        world_events=max(steps, world.trace.events),
        virtual_ns=world.now_ns,
    )


class _Load:
    """One client: an operation, a pause, the next operation."""

    def __init__(self, world: World, options: SwarmOptions, name: str, *, end_ns: int) -> None:
        self._world, self._options, self._name, self._end_ns = world, options, name, end_ns
        self._random = world.rng("swarm", name)
        self._session = world.session(
            name, timeout_ns=options.timeout_ns, attempt_ns=options.attempt_ns
        )
        self._count = 0
        self._known: dict[str, Any] = {}
        # Some stay with the node they know, some ask any; some only read, and so keep talking to a
        # leader that can no longer write.
        self._roaming = self._random.choice((0.0, 0.0, 0.3, 1.0))
        self._read_share = self._random.choice((0.2, 0.5, 1.0, 1.0))
        world.at(self._pause_ns(), self._next)

    def _pause_ns(self) -> int:
        return int(self._random.expovariate(1 / self._options.think_ns))

    def _next(self) -> None:
        if self._world.now_ns >= self._end_ns:
            return
        command = self._draw_command()
        roams = self._random.random() < self._roaming
        to = self._random.choice(self._world.nodes) if roams else None
        self._session.submit(command, to=to, done=self._done)

    def _done(self, outcome: Any) -> None:
        call = self._session.calls[-1]
        if call.command.op == "get" and outcome.status == "ok":
            self._known[call.command.key] = outcome.value
        self._world.at(self._pause_ns(), self._next)

    def _draw_command(self) -> Command:
        key = f"k{self._random.randrange(self._options.keys)}"
        dice = self._random.random()
        if dice < self._read_share:
            return Command("get", key)
        dice = self._random.random()
        self._count += 1
        value = int(self._name[1:]) * 1_000_000 + self._count
        if self._options.workload == "append":
            return Command("append", key, (value,))
        if dice < 0.5 or key not in self._known:
            return Command("put", key, (value,))
        return Command("cas", key, (self._known[key], value))


class _Injected(NamedTuple):
    """What an injector did: to whom, what, and what undoes it."""

    nodes: list[str]
    value: dict[str, Any]
    heal: Callable[[], None]


class Gremlin:
    """Injects faults at random, and heals each after a while.

    Args:
        world: whom to torment.
        options: which faults, how often, how long.
        end_ns: inject nothing after this.
    """

    def __init__(self, world: World, options: SwarmOptions, *, end_ns: int) -> None:
        self.injected: dict[str, int] = dict.fromkeys(options.faults, 0)
        self.faults: list[SwarmFault] = []
        self._world, self._options, self._end_ns = world, options, end_ns
        self._random = world.rng("swarm", "gremlin")
        self._cuts: dict[tuple[str, str], LinkFault] = {}
        self._packets: dict[tuple[str, str], LinkFault] = {}
        self._stopped = False
        self.churn = MembershipChurn(world, lambda: self._stopped)
        for kind in options.faults:
            self._plan(kind)

    def stop(self) -> None:
        """Inject nothing more; heals still due do nothing."""
        self._stopped = True

    def _plan(self, kind: str) -> None:
        delay_ns = int(self._random.expovariate(1 / self._options.interval_ns))
        self._world.at(delay_ns, self._inject, kind)

    def _inject(self, kind: str) -> None:
        if self._stopped or self._world.now_ns >= self._end_ns:
            return
        self.injected[kind] += 1
        done = _INJECTORS[kind](self)
        fault = SwarmFault(kind, done.nodes, done.value, self._world.now_ns)
        self.faults.append(fault)
        lasts_ns = int(self._random.expovariate(1 / self._options.duration_ns))
        self._world.at(lasts_ns, self._heal, fault, done.heal)
        self._plan(kind)

    def _heal(self, fault: SwarmFault, heal: Callable[[], None]) -> None:
        if not self._stopped:
            heal()
            fault.end_ns = self._world.now_ns

    def _one(self) -> str:
        """A node; half of the time the leader, where faults hurt."""
        leader = self._world.leader()
        if leader is not None and self._random.random() < 0.6:
            return leader
        return self._random.choice(self._world.nodes)

    # -- the faults

    def _partition(self) -> _Injected:
        nodes = list(self._world.nodes)
        self._random.shuffle(nodes)
        if self._random.random() < 0.6:
            victim = self._one()
            left, right = [victim], [node for node in nodes if node != victim]
        else:
            middle = len(nodes) // 2
            left, right = nodes[:middle], nodes[middle:]
        if self._options.cut_clients:
            for client in self._world.sessions():
                (left if self._random.random() < 0.5 else right).append(client)
        both_ways = self._random.random() < 0.7
        self._cuts = {(a, b): LinkFault(cut=True) for a in left for b in right}
        if both_ways:
            self._cuts.update({(b, a): LinkFault(cut=True) for a in left for b in right})
        self._set_links()
        cuts = self._cuts
        value = {"groups": [left, right], "both_ways": both_ways}
        return _Injected([*left, *right], value, lambda: self._heal_partition(cuts))

    def _heal_partition(self, cuts: dict[tuple[str, str], LinkFault]) -> None:
        if self._cuts is cuts:  # a later partition has its own heal
            self._cuts = {}
            self._set_links()

    def _bad_packets(self) -> _Injected:
        chance = self._random.random
        fault = LinkFault(
            delay_ns=self._random.choice((0, 5, 50)) * MS,
            jitter_ns=self._random.choice((0, 10, 100)) * MS,
            loss=self._random.choice((0.0, 0.1, 0.5)),
            duplicate=self._random.choice((0.0, 0.1)),
            reorder=self._random.choice((0.0, 0.1, 0.3)),
            corrupt=self._random.choice((0.0, 0.0, 0.01)),
        )
        ends = [*self._world.nodes, *self._world.sessions()]
        share = self._random.choice((0.1, 0.5, 1.0))
        self._packets = {(a, b): fault for a in ends for b in ends if a != b and chance() < share}
        self._set_links()
        packets = self._packets
        hit = [node for node in self._world.nodes if any(node in link for link in packets)]
        value = {**msgspec.to_builtins(fault), "links": len(packets)}
        return _Injected(hit, value, lambda: self._heal_packets(packets))

    def _heal_packets(self, packets: dict[tuple[str, str], LinkFault]) -> None:
        if self._packets is packets:
            self._packets = {}
            self._set_links()

    def _set_links(self) -> None:
        self._world.network.set_links({**self._packets, **self._cuts})

    def _crash(self) -> _Injected:
        return self._crash_nodes([self._one()])

    def _crash_many(self) -> _Injected:
        nodes = list(self._world.nodes)
        count = self._random.randint(2, len(nodes))
        return self._crash_nodes(self._random.sample(nodes, count))

    def _crash_nodes(self, nodes: list[str]) -> _Injected:
        torn = self._random.random() < 0.4
        for node in nodes:
            self._world.crash(node, torn=torn)
        return _Injected(nodes, {"torn": torn}, lambda: self._restart(nodes))

    def _restart(self, nodes: list[str]) -> None:
        for node in nodes:
            if not self._world.alive(node):
                self._world.restart(node)

    def _pause(self) -> _Injected:
        node = self._one()
        self._world.pause(node)
        return _Injected([node], {}, lambda: self._world.resume(node))

    def _clock(self) -> _Injected:
        node = self._one()
        offset_ns = self._random.choice((-1, 1)) * self._random.randrange(10 * SECOND)
        rate = self._random.choice((0.5, 0.9, 0.99, 1.01, 1.1, 2.0))
        self._world.set_clock(node, offset_ns=offset_ns, rate=rate)
        value = {"offset_ns": offset_ns, "rate": rate}
        return _Injected([node], value, lambda: void(self._world.set_clock(node)))

    def _disk(self) -> _Injected:
        node = self._one()
        fault = self._random.choice(("latency", "latency", "error", "full", "torn", "flip"))
        if fault == "flip" and MEMBERSHIP in self._options.faults:
            fault = "torn"  # with fewer voters one damaged disk may be too many
        faults: dict[str, dict[str, Any]] = {
            "latency": {"latency_ns": self._random.choice((5, 50, 500)) * MS, "jitter_ns": MS},
            "error": {"error": "EIO"},
            "full": {"full": True},
            "torn": {"torn": True},
            "flip": {"flip": True},
        }
        self._world.set_disk(node, faults[fault])
        return _Injected([node], faults[fault], lambda: self._heal_disk(node))

    def _membership(self) -> _Injected:
        node = self._one()
        return _Injected([node], {"removed": node}, self.churn.remove(node))

    def _damage(self, kind: str) -> _Injected:
        node = self._one()
        done = damage(self._world, node, self._random.choice(DAMAGES[kind]), self._random)
        value: dict[str, Any] = {"skipped": True}
        if done is not None:
            value = {"damage": done.kind, "file": done.file, "at": done.at}
        return _Injected([node], value, lambda: self._restart([node]))

    def _heal_disk(self, node: str) -> None:
        self._world.set_disk(node, {})
        self._restart([node])


def void(_: object) -> None:
    """Drop a result."""


_INJECTORS: dict[str, Callable[[Gremlin], _Injected]] = {
    "partition": Gremlin._partition,
    "packets": Gremlin._bad_packets,
    "crash": Gremlin._crash,
    "crash-many": Gremlin._crash_many,
    "pause": Gremlin._pause,
    "clock": Gremlin._clock,
    "disk": Gremlin._disk,
    MEMBERSHIP: Gremlin._membership,
    "disk-lost-tail": lambda gremlin: gremlin._damage("disk-lost-tail"),
    "disk-flip": lambda gremlin: gremlin._damage("disk-flip"),
    "disk-damage": lambda gremlin: gremlin._damage("disk-damage"),
}
