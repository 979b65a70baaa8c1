"""A66: a leader that hears no majority leads on.

Heartbeats reach the followers, their answers do not come back. The followers have a leader, and the
leader commits nothing.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.membership import Configuration


class NoCheckQuorum(HeartbeatRounds):
    """Rounds that need no answers."""

    def keeps_quorum(self, now_ns: int, electorate: Configuration) -> bool:
        """It always does."""
        return True


ABLATION = Ablation(
    NoCheckQuorum,
    removes="A leader that hears no majority for an election timeout steps down.",
    breaks="Nothing is served while the leader can send and not hear.",
    nemesis="partition",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    pattern="heartbeat",
    real=False,
)
