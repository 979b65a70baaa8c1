"""A49b: the granter measures leases by the wall clock.

A wall clock is set: by an operator, by a time service that finds it wrong, by a virtual machine
that is moved. Set forward by an hour, it ends every lease at once. Set back, it keeps dead holders
for an hour.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.lease import LeaseClock
from cluster.ports import Clock


class GranterReadsTheWallClock(LeaseClock):
    """A measure of leases by the time of day."""

    def time_ns(self, clock: Clock) -> int:
        """The time of day."""
        return clock.wall_ns()


ABLATION = Ablation(
    GranterReadsTheWallClock,
    removes="Leases are measured by a clock that is never set.",
    breaks="A leader's clock is set forward, its leases end at once, and two clients hold one.",
    nemesis="clock",
    workload="lease",
    checker="lease",
    anomaly="two-holders",
    random=False,
    real=False,
)
