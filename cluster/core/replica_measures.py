"""What a replica measures of its services, for ``/metrics``: leases, watches, reads.

Used by ``cluster.core.replica``, whose method ``measures`` it is.
"""

from __future__ import annotations

from typing import Protocol

from cluster.core.pending_reads import PendingReads
from cluster.core.state_machine import StateMachine
from cluster.core.state_watch import StateWatch
from cluster.measures import Measures


class HasServices(Protocol):
    """What is looked at."""

    machine: StateMachine
    watch: StateWatch
    reads: PendingReads


def measures_of(replica: HasServices) -> Measures:
    """Leases, watches, and how long reads waited for their index, by the node's own clock."""
    leases, watches = len(replica.machine.leases.table), len(replica.watch)
    return Measures(
        gauges={"lease_count": leases, "watch_count": watches},
        counters={"watch_slow": replica.watch.slow},
        histograms={"read_index_seconds": replica.reads.waited_seconds},
    )
