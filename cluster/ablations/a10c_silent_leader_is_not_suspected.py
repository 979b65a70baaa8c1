"""A10c: a leader that is silent is not taken for dead.

A node that has heard a leader once waits for it for ever. The first leader is elected; when it
dies, no other is.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.consensus.election import Election


class SilentLeaderIsNotSuspected(Election):
    """Followers without a failure detector."""

    def suspects_leader(self, now_ns: int) -> bool:
        """Only a node that never heard a leader looks for one."""
        return self.heard_ns < 0


ABLATION = Ablation(
    SilentLeaderIsNotSuspected,
    removes="A leader that is silent for an election timeout is replaced.",
    breaks="When the leader dies nothing is served until it is back.",
    nemesis="kill",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
)
