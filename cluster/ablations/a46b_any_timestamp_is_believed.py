"""A46b: a timestamp is believed, however far it is ahead.

One broken clock drags all others along. When it is set right, every node knows timestamps that its
own clock will not reach for an hour, and none may be issued meanwhile.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.clocks.hybrid_clock import HybridClock


class BelievesAll(HybridClock):
    """A clock that follows anybody."""

    __slots__ = ()

    def accepts(self, wall_ns: int, remote: int) -> bool:
        """Always."""
        return True


ABLATION = Ablation(
    BelievesAll,
    role="leaderless",
    removes="A remote timestamp further ahead than clocks may be apart is not merged.",
    breaks="One clock that was wrong for a moment stops the writes of all nodes.",
    nemesis="clock",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    random=False,
    real=False,
)
