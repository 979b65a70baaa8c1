"""How many round trips between nodes a request waits for, of a variant of the reference cluster.

Measured, not derived: the variant's own nodes run in a simulated network of one millisecond each
way, with disks that sync in no time. So the time from a request at the leader to its answer, less
the client's own way, is a number of round trips. Nothing else is going on and nothing fails. The
figure depends on the variant alone, and runs in any environment share it.

Used by ``harness compare`` and ``bench/consensus.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import median
from typing import Any

from cluster.core.parts import CONSENSUS
from cluster.simulation.disk import DiskProfile
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.network import NetworkProfile
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command
from harness.spec import TestSpec

HOP_NS = 1 * MS
GIVE_UP_NS = 30 * SECOND
#: requests whose median is taken
REQUESTS = 15
#: between two requests, so that they meet heartbeats at different times
REST_NS = 7 * MS


def round_trips(spec: TestSpec) -> dict[str, float]:
    """Round trips of a write (``round_trips``) and of a read (``read_round_trips``).

    Args:
        spec: of a run: its consensus, nodes and ablations count, and its read mode.

    Returns:
        nothing for nodes that are not the reference cluster's of role ``core``.
    """
    options: Mapping[str, Any] = spec.db_options
    if spec.db != "reference" or options.get("role", "core") != "core":
        return {}
    consensus = str(options.get("consensus", spec.consensus))
    mode = str(options.get("read_mode", "linearizable"))
    if consensus not in CONSENSUS:
        return {}
    return dict(_measured(consensus, tuple(spec.nodes), tuple(spec.ablate), mode))


@cache
def _measured(
    consensus: str, nodes: tuple[str, ...], ablations: tuple[str, ...], mode: str
) -> tuple[tuple[str, float], ...]:
    def write(number: int) -> Command:
        return Command("put", "k", (number,))

    def read(number: int) -> Command:
        return Command("get", "k")

    try:
        written = trips(consensus, write, nodes=nodes, ablations=ablations)
        looked = trips(consensus, read, nodes=nodes, ablations=ablations, mode=mode)
    except (InvariantViolation, NotServed):
        return ()  # an ablation that breaks a cluster at rest: there is nothing to compare
    return ("round_trips", written), ("read_round_trips", looked)


class NotServed(Exception):
    """The cluster elects no leader, or does not answer."""


def trips(
    consensus: str,
    command: Callable[[int], Command],
    *,
    nodes: Sequence[str],
    ablations: Sequence[str] = (),
    mode: str = "linearizable",
) -> float:
    """Round trips between nodes that a request at the leader waits for: the median.

    Args:
        consensus: the variant's name.
        command: makes the request of a number.
        nodes: names of the cluster's nodes.
        ablations: ids of ablations that all nodes run with.
        mode: of reads.

    Raises:
        NotServed: the cluster does not serve.
    """
    world = World(
        seed=1,
        nodes=tuple(nodes),
        consensus=consensus,
        ablations=tuple(ablations),
        network=NetworkProfile(delay_min_ns=HOP_NS, delay_max_ns=HOP_NS),
        disk=DiskProfile(sync_min_ns=0, sync_max_ns=0),
        check_invariants=False,
    )
    if not world.run_until(lambda: world.leader() is not None, GIVE_UP_NS):
        raise NotServed(f"{consensus}: no leader after {GIVE_UP_NS // SECOND} s")
    world.run_for(2 * SECOND)
    leader = world.leader()
    if leader is None:
        raise NotServed(f"{consensus}: the leader is gone")
    session = world.session("c", prefer=leader)
    session.submit(Command("put", "k", (0,)), to=leader)  # the first write of a session opens it
    world.run_for(1 * SECOND)
    taken: list[float] = []
    for number in range(REQUESTS):
        began_ns = world.now_ns
        call = session.submit(command(number), to=leader, mode=mode)
        if not world.run_until(lambda call=call: bool(call.status), GIVE_UP_NS):  # type: ignore[misc]
            raise NotServed(f"{consensus}: a request is not answered")
        taken.append((world.now_ns - began_ns) / (2 * HOP_NS) - 1)  # one is the client's own
        world.run_for(REST_NS)
    return median(taken)
