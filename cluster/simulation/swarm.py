"""A run of a random profile: load and faults, then healing, and at last a trial of availability.

The profile of a seed is drawn first (:mod:`~cluster.simulation.profiles`): faults
(:mod:`~cluster.simulation.faults`), clients (:mod:`~cluster.simulation.load`), network, disks and
settings. A run has a safety phase under faults, with invariants checked after every event, and then
the liveness phase of :mod:`~cluster.simulation.liveness` and a trial of
:mod:`~cluster.simulation.availability`. The client history is returned as events for a checker.
Everything follows from the seed: ``run_swarm(7)`` is always the same run.

Used by campaigns (``harness explore``), benchmarks and tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from cluster.ablations.registry import role_for
from cluster.core.member_requests import MEMBER_OPS
from cluster.simulation.availability import hold_trial, trials_for
from cluster.simulation.faults.disks import MEMBERSHIP
from cluster.simulation.faults.gremlin import Gremlin, SwarmFault
from cluster.simulation.gossip_load import GossipLoad
from cluster.simulation.gossip_profiles import for_gossip, settle_ns
from cluster.simulation.intent_watch import IntentWatch
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.leaderless_load import LeaderlessLoad, read_all
from cluster.simulation.liveness import Settlement, settle
from cluster.simulation.load import Load, TransactionLoad
from cluster.simulation.profiles import TRANSACTIONS, SwarmOptions, Wishes, draw
from cluster.simulation.sessions import ClientEvent, client_events
from cluster.simulation.world import SECOND, World


class SwarmRun(msgspec.Struct):
    """The outcome of a run.

    Args:
        seed: its seed.
        options: what the seed drew.
        events: what clients saw of operations that are to be linearizable, in order.
        stale: what they saw of stale reads, which promise less.
        violation: the invariant that broke, as text; empty if none did.
        settlement: how the liveness phase ended; None if a violation came first.
        trial: the trial of availability that was held; empty if none was.
        unavailable: what that trial found wanting, in a sentence; empty if nothing.
        injected: how many faults of each kind were made.
        faults: each of them, in order of beginning.
        changed: how many changes of members of each kind were acknowledged.
        elections: how many leaders were elected.
        trace_hash: digest of every event.
        world_events: events of the world, for speed measurements.
        virtual_ns: virtual time.
        role: what the nodes were.
    """

    seed: int
    options: SwarmOptions
    events: list[ClientEvent]
    stale: list[ClientEvent]
    violation: str
    settlement: Settlement | None
    trial: str
    unavailable: str
    injected: dict[str, int]
    faults: list[SwarmFault]
    changed: dict[str, int]
    elections: int
    trace_hash: str
    world_events: int
    virtual_ns: int
    role: str = "core"


class _Outcome(msgspec.Struct):
    """How far the phases of a run came."""

    violation: str = ""
    settlement: Settlement | None = None
    trial: str = ""
    unavailable: str = ""
    steps: int = 0


def run_swarm(
    seed: int,
    *,
    role: str = "",
    consensus: str = "raft",
    ablations: Sequence[str] = (),
    faults: Sequence[str] = (),
    workload: str = "",
    nodes: int = 0,
    profile: str = "",
    membership: bool = False,
    duration_ns: int = 6 * SECOND,
    options: SwarmOptions | None = None,
    check_invariants: bool = True,
) -> SwarmRun:
    """One run.

    Args:
        seed: everything follows from it.
        role: what the nodes are; "" for the role that the ablations are for, or ``core``.
        consensus: the variant all nodes of role ``core`` run, and all groups of role ``data``.
        ablations: ids of the ablations all nodes run with.
        faults: the kinds of faults there shall be; empty to draw those too.
        workload, profile: by name; "" to draw.
        nodes: how many; 0 to draw.
        membership: change members too, among the faults; never of role ``data``.
        duration_ns: virtual time under faults, before the liveness phase.
        options: None to draw them from the seed.
        check_invariants: watch the invariants after every event.

    Raises:
        ValueError: there are no transactions, or no such fault, on nodes of this role.
    """
    role = role or role_for(ablations)
    drawn = options or draw(
        seed,
        Wishes(
            consensus=consensus,
            faults=tuple(faults),
            workload=workload,
            profile=profile,
            nodes=nodes,
        ),
    )
    drawn = _for_role(drawn, role, membership)
    if role == "gossip" and options is None:
        drawn = for_gossip(seed, drawn, nodes=nodes, faults=bool(faults))
    world = World(
        seed=seed,
        nodes=tuple(f"n{number + 1}" for number in range(drawn.nodes)),
        config=drawn.config,
        role=role,
        consensus=consensus,
        ablations=ablations,
        network=drawn.network,
        disk=drawn.disk,
        check_invariants=check_invariants,
    )
    gremlin = Gremlin(world, drawn, end_ns=duration_ns)
    if role == "data" and check_invariants:
        IntentWatch(world)
    load = _load_of(role, drawn)
    for number in range(drawn.clients):
        load(world, drawn, f"c{number + 1}", end_ns=duration_ns)
    return _conclude(world, drawn, gremlin, _run(world, gremlin, duration_ns, drawn.keys))


def _for_role(drawn: SwarmOptions, role: str, membership: bool) -> SwarmOptions:
    """The options with the faults that nodes of a role can have."""
    faults = drawn.faults
    if membership and MEMBERSHIP not in faults:
        faults = (*faults, MEMBERSHIP)
    if role == "data":  # whose groups keep their members
        faults = tuple(kind for kind in faults if kind != MEMBERSHIP)
    elif drawn.workload == TRANSACTIONS:
        raise ValueError(f"workload {TRANSACTIONS} is for nodes of role data, not {role}")
    return msgspec.structs.replace(drawn, faults=faults)


def _load_of(role: str, drawn: SwarmOptions) -> Callable[..., object]:
    """What makes a client."""
    if role == "leaderless":
        return LeaderlessLoad
    if role == "gossip":
        return GossipLoad
    return TransactionLoad if drawn.workload == TRANSACTIONS else Load


def _run(world: World, gremlin: Gremlin, duration_ns: int, keys: int) -> _Outcome:
    """The phases, as far as no invariant breaks."""
    outcome = _Outcome()
    try:
        outcome.steps = world.run_for(duration_ns)
        gremlin.stop()
        if world.role == "gossip":
            outcome.settlement = settle(world, settle_ns(world))
            return outcome
        outcome.settlement = settle(world)
        if world.role == "leaderless" and outcome.settlement.ok:
            outcome.settlement.problems += read_all(world, keys)
        trials = trials_for(world) if outcome.settlement.ok else ()
        if trials:
            outcome.trial = world.rng("swarm", "trial").choice(trials)
            outcome.unavailable = hold_trial(world, outcome.trial)
    except InvariantViolation as broken:
        outcome.violation = str(broken)
    return outcome


def _conclude(world: World, drawn: SwarmOptions, gremlin: Gremlin, outcome: _Outcome) -> SwarmRun:
    seen = [event for event in client_events(world) if event.f not in MEMBER_OPS]
    return SwarmRun(
        seed=world.seed,
        options=drawn,
        events=[event for event in seen if event.mode != "stale"],
        stale=[event for event in seen if event.mode == "stale"],
        violation=outcome.violation,
        settlement=outcome.settlement,
        trial=outcome.trial,
        unavailable=outcome.unavailable,
        injected=gremlin.injected,
        faults=gremlin.faults,
        changed=gremlin.changed,
        elections=sum(note.event == "leader-elected" for _, _, note in world.notes),
        trace_hash=world.trace_hash(),
        world_events=max(outcome.steps, world.trace.events),
        virtual_ns=world.now_ns,
        role=world.role,
    )
