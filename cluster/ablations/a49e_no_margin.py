"""A49e: the granter adds no margin to a lease for clocks that run at different rates.

The holder counts by its own clock. If the granter's clock runs faster, the lease is over for the
granter first.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.lease import Held, LeaseClock


class NoMargin(LeaseClock):
    """A clock that trusts all clocks to run at its own rate."""

    def ends_ns(self, now_ns: int, held: Held) -> int:
        """The time to live is enough."""
        return now_ns + held.left_ns


ABLATION = Ablation(
    NoMargin,
    removes="A lease is over only a margin after its time to live.",
    breaks="With a fast clock at the granter, two clients hold a lease at once.",
    nemesis="clock",
    workload="lease",
    checker="lease",
    anomaly="two-holders",
    random=False,
    real=False,
)
