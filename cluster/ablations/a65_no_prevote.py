"""A65: a node stands without asking whether it would win.

A node that is cut off stands again and again, each time in a later generation. When the cut heals,
its generation deposes a healthy leader.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.consensus.election import Election


class NoPreVote(Election):
    """Candidacies that begin at once."""

    def asks_before_campaigning(self) -> bool:
        """No."""
        return False


ABLATION = Ablation(
    NoPreVote,
    removes="A candidate first asks whether it would win, which changes nothing on any node.",
    breaks="Each node that returns from a cut costs an election.",
    nemesis="partition",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    pattern="leader_and_followers",
    real=False,
)
