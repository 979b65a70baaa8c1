"""What faults may leave in nodes of role ``data``, and must be gone a while after them.

A dead coordinator leaves intents, which are locks; a former life of a node leaves its lease; a
controller that died leaves a partition halfway between two groups. Each is ended by others in a
bounded time: that is the promise of orphan recovery, of leases, and of a map whose states say what
is next. The liveness phase (:mod:`cluster.simulation.liveness`) waits for it, and says what is left
if it does not come.
"""

from __future__ import annotations

from typing import Any

from cluster.data.partition_machine import PartitionMachine
from cluster.data.partition_record import OWNED
from cluster.data.replicated_groups import CORE
from cluster.simulation.world import World


def left_over(world: World) -> str:
    """The first thing that is left over, in a few words; "" if nothing is."""
    nodes: dict[str, Any] = {node: world.core(node) for node in world.nodes if world.alive(node)}
    for node, core in nodes.items():
        placement = getattr(core.placement, "placement", None)
        if placement is None or core.coordinator is None:
            return ""  # a node of bare groups, without the parts that leave something
        said = _of_groups(node, core) or _of_map(node, placement)
        if said:
            return said
        if len(core.coordinator.coordinator):
            return f"{len(core.coordinator.coordinator)} transactions live at {node}"
        if not core.placement.registration.registered:
            return f"{node} is not registered"
        core_group = core.groups.replica(CORE)
        leases = core_group.state.machine.leases.table if core_group is not None else {}
        if len(leases) > len(nodes):
            return f"{len(leases)} leases are left for {len(nodes)} nodes, as {node} has it"
    return ""


def _of_groups(node: str, core: Any) -> str:
    for group in core.groups.names:
        replica = core.groups.replica(group)
        machine = replica.state.machine if replica is not None else None
        if type(machine) is not PartitionMachine:
            continue
        if machine.participant.prepared:
            txn = next(iter(machine.participant.prepared))
            return f"group {group} has intents of {txn} at {node}"
        frozen = [name for name, held in machine.store.ownership.held.items() if held.frozen]
        if frozen:
            return f"group {group} still has {frozen[0]} frozen at {node}"
    return ""


def _of_map(node: str, placement: Any) -> str:
    if placement.layout is None:
        return f"{node} knows no layout"
    if placement.controller is None:
        return f"{node} knows no controller"
    for partition in placement.partitions.values():
        if partition.state != OWNED:
            return f"{partition.id} is {partition.state} as {node} has it"
    return f"{len(placement.requests)} requests wait" if placement.requests else ""
