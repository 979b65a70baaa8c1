"""A49f: a lease that a leader proposed to end is ended, although it was renewed before that.

The leader measures by what it has applied. A renewal that is in the log and not committed yet is
not among it, and comes before the end that the leader proposes.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.lease import Held, Leases


class EndInSpiteOfARenewal(Leases):
    """A table of leases that ends what a leader found to be over."""

    def is_as_proposed(self, held: Held, renewed: int) -> bool:
        """The leader has measured it."""
        return True


ABLATION = Ablation(
    EndInSpiteOfARenewal,
    removes="An end names the renewal it knows of, and does nothing if there was a later one.",
    breaks="A lease ends just after its renewal was acknowledged, and two clients hold it.",
    nemesis="disk",
    workload="lease",
    checker="lease",
    anomaly="two-holders",
    random=False,
    real=False,
)
