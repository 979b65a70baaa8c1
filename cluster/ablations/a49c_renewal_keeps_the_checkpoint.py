"""A49c: what a checkpoint said is left of a lease is still said after a renewal.

A leader writes down when half of a lease's time is gone. A node that begins to measure takes the
rest for the whole, unless a renewal puts it back.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.lease import Held, Leases


class RenewalKeepsTheCheckpoint(Leases):
    """A table of leases whose checkpoints outlive renewals."""

    def left_after_renewal(self, held: Held) -> int:
        """As the checkpoint said."""
        return held.left_ns


ABLATION = Ablation(
    RenewalKeepsTheCheckpoint,
    removes="A renewal gives a lease its whole time again, also after a checkpoint.",
    breaks="A renewed lease ends long before its time, and two clients hold it.",
    nemesis="none",
    workload="lease",
    checker="lease",
    anomaly="two-holders",
    random=False,
    real=False,
)
