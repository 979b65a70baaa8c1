"""A49a: a holder counts the time to live from the moment at which it was told of the grant.

The granter counts from the moment at which it applied the grant. An answer that takes longer than
the granter's margin makes the holder's view end last.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.lease import LeaseHolder


class HolderCountsFromTheAnswer(LeaseHolder):
    """A holder that takes the answer for news."""

    def counts_from_ns(self, asked_ns: int, told_ns: int) -> int:
        """When the answer came."""
        return told_ns


ABLATION = Ablation(
    HolderCountsFromTheAnswer,
    removes="A holder counts the time to live from the moment it asked.",
    breaks="A holder acts on its lease after the next one did.",
    nemesis="packets",
    workload="lock",
    checker="lock",
    anomaly="stale-token-accepted",
    random=False,
    real=False,
)
