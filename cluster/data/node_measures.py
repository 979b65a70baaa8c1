"""Measures of a data node: what its groups and its hybrid clock measure, as those of one node.

Every replica here measures itself, as a node of the core does; the node shows their sum, and adds
what only a data node has:

    intents              keys with an intent, which is a lock, in the replicas here
    hlc_drift_seconds    how far the hybrid clock is ahead of the node's physical clock
    hlc_refused          stamps of other nodes that were too far ahead to be merged

Used by ``node``.
"""

from __future__ import annotations

from cluster.data.partition_machine import PartitionMachine
from cluster.data.replicated_groups import ReplicatedGroups
from cluster.data.stamps import Stamps
from cluster.measures import Measures, summed


def measures_of(groups: ReplicatedGroups, stamps: Stamps) -> Measures:
    """What a node has measured so far in this life, for ``/metrics``.

    Args:
        groups: those that are here.
        stamps: the node's hybrid clock.
    """
    replicas = [replica for each in groups.names if (replica := groups.replica(each))]
    machines = [replica.state.machine for replica in replicas]
    own = Measures(
        gauges={
            "intents": sum(
                each.store.intents for each in machines if isinstance(each, PartitionMachine)
            ),
            "hlc_drift_seconds": stamps.hybrid.ahead_ns(stamps.wall_ns()) / 1e9,
        },
        counters={"hlc_refused": sum(stamps.refused.values())},
    )
    return summed([own, *(replica.measures() for replica in replicas)])
