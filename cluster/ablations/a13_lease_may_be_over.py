"""A13: a write in the name of a lease is taken, although the lease is over.

A holder that was stopped for longer than its lease lives does not know that another has the lock by
now. Only the resource can refuse it: it asks whether the lease still exists.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.lease import Leases


class LeaseMayBeOver(Leases):
    """A table of leases that takes any lease for one that has not ended."""

    def exists(self, lease: str) -> bool:
        """It was granted once."""
        return True


ABLATION = Ablation(
    LeaseMayBeOver,
    removes="A key is attached only to a lease that has not ended.",
    breaks="A holder that was paused writes to the resource after the next holder did.",
    nemesis="pause",
    workload="lock",
    checker="lock",
    anomaly="stale-token-accepted",
    random=False,
    real=False,
)
