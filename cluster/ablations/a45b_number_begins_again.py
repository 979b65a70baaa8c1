"""A45b: a node's number begins at 0 in each life.

The bound that was made durable is not looked at. Writes that the node takes before it hears of
others lose to its own writes of before.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.lamport_clock import LamportClock


class BeginsAgain(LamportClock):
    """A counter without a memory."""

    __slots__ = ()

    def begins_at(self, durable: int) -> int:
        """At the beginning."""
        return 0


ABLATION = Ablation(
    BeginsAgain,
    role="leaderless",
    removes="After a restart a node counts on from the bound that was durable.",
    breaks="A write that a restarted node acknowledged loses to older ones.",
    nemesis="kill",
    random=False,
    real=False,
)
