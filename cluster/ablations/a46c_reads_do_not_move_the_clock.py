"""A46c: the timestamp of what a client has read does not move the clock of the node it writes to.

The node may not have heard of that value in any other way. It stamps the effect below its cause.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.hybrid_clock import HybridClock


class ReadsPassBy(HybridClock):
    """A clock that learns from messages alone."""

    __slots__ = ()

    def observe_read(self, wall_ns: int, remote: int) -> bool:
        """It is looked at, and forgotten."""
        return self.accepts(wall_ns, remote)


ABLATION = Ablation(
    ReadsPassBy,
    role="leaderless",
    removes="A timestamp that a client brings from a read is merged.",
    breaks="A write loses to the value that its client had read at another node.",
    nemesis="clock",
    random=False,
    real=False,
)
