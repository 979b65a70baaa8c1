"""The watch over intents: none outlives its decision for long, while those concerned can talk.

A transaction that is decided may leave intents, which are locks: its coordinator died, or the order
to resolve them was lost. The leader of each group looks for old ones and asks the group that
decides. So an intent is gone a while after the decision, whatever happens elsewhere, provided that
meanwhile both groups had a leader, that all members of both ran, on sound disks, and that no link
among them was faulty. That is looked at now and then; a break in between begins the time anew.

How long: until the intent is old, the sweep after that, what the last recovery may still have been
waiting for, and the questions themselves, with as many repetitions as lost frames may cost.

Under faults of short intervals there is seldom such a time before healing; then this is a part of
the liveness phase with a bound of its own. Directed schedules and tests have it under faults
elsewhere.

Used by :mod:`cluster.simulation.swarm` and tests, for role ``data``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cluster.config import MS, ClusterConfig
from cluster.data.partition_commands import PENDING
from cluster.data.partition_machine import PartitionMachine
from cluster.data.questions import QUESTION_NS
from cluster.simulation.world import World

#: How often it is looked.
LOOK_NS = 50 * MS
#: What elections that ended just now, slow disks and lost frames may add.
SLACK_NS = 2_000 * MS


def bound_ns(config: ClusterConfig) -> int:
    """How long an intent may outlive its decision while those concerned can talk."""
    sweeps_ns = 3 * config.orphan_after_ns + 2 * config.clock_offset_bound_ns
    return sweeps_ns + 3 * QUESTION_NS + SLACK_NS


class _Led(NamedTuple):
    """A group that has one leader: its members, and the state of that leader."""

    members: frozenset[str]
    machine: PartitionMachine


class IntentWatch:
    """Looks, from now on, until the world ends.

    Args:
        world: of role ``data``.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._bound_ns = bound_ns(world.config)
        #: (group, transaction) -> since when its decision is known and could be learned
        self._since: dict[tuple[str, str], int] = {}
        #: intents whose transaction was decided when it was looked, and how often
        self.seen = 0
        world.at(LOOK_NS, self._look)

    def _look(self) -> None:
        self._world.at(LOOK_NS, self._look)
        led = self._led()
        now_ns, since = self._world.now_ns, self._since
        self._since = {
            (group, txn): since.get((group, txn), now_ns)
            for group, found in led.items()
            for txn, held in found.machine.participant.prepared.items()
            if self._could_learn(found, led.get(held.decision_group), txn)
        }
        self.seen += len(self._since)
        for (group, txn), began_ns in self._since.items():
            if now_ns - began_ns > self._bound_ns:
                self._world.violation(
                    "intent-outlives-decision",
                    f"group {group} has intents of {txn}, which was decided, after "
                    f"{now_ns - began_ns} ns in which it could have learned that; at most "
                    f"{self._bound_ns} ns are allowed",
                )

    def _led(self) -> dict[str, _Led]:
        found: dict[str, list[_Led]] = {}
        for node in self._world.nodes:
            core: Any = self._world.core(node)
            if core is None or self._world.paused(node) or _is_fenced(core):
                continue
            for group in core.groups.names:
                machine = _machine(core, group)
                if machine is not None and core.groups.leads(group):
                    members = core.groups.replica(group).configuration.voters
                    found.setdefault(group, []).append(_Led(frozenset(members), machine))
        return {group: leaders[0] for group, leaders in found.items() if len(leaders) == 1}

    def _could_learn(self, here: _Led, there: _Led | None, txn: str) -> bool:
        """Whether a group can learn of a transaction's end where that was decided."""
        record = there.machine.records.table.get(txn) if there is not None else None
        if there is None or record is None or record.state == PENDING:
            return False
        nodes = here.members | there.members
        world = self._world
        faulty = any(source in nodes and to in nodes for source, to in world.network.faults())
        return not faulty and all(
            world.alive(node) and not world.paused(node) and not world.disk(node).faults
            for node in nodes
        )


def _is_fenced(core: Any) -> bool:
    return core.coordinator is None or bool(core.coordinator.clock.problem())


def _machine(core: Any, group: str) -> PartitionMachine | None:
    replica = core.groups.replica(group)
    machine = replica.state.machine if replica is not None else None
    return machine if isinstance(machine, PartitionMachine) else None
