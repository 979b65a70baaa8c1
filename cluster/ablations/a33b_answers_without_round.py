"""A33b: an answer to an old heartbeat confirms a new read.

A follower's answer proves that it still followed when it answered. An answer that is taken for one
to the latest round proves it for a moment at which another leader may have been elected.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.ports import NodeId


class AnswersWithoutRound(HeartbeatRounds):
    """Rounds that are not told apart."""

    def answered(self, peer: NodeId, round: int) -> None:
        """It is the latest."""
        if peer in self._answered:
            self._answered[peer] = self.sent


ABLATION = Ablation(
    AnswersWithoutRound,
    removes="An answer counts for the round that it echoes.",
    breaks="A deposed leader's read is confirmed by an answer from before.",
    nemesis="packets,partition",
    pattern="follower_reads",
    random=False,
    real=False,
)
