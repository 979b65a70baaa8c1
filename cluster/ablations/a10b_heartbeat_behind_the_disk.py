"""A10b: a heartbeat leaves after the writes before it are durable.

A leader whose disk is slow is silent, and is taken for dead, though it lives and could serve reads.
The next leader may have a slow disk too.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.consensus.heartbeat import HeartbeatRounds


class HeartbeatBehindTheDisk(HeartbeatRounds):
    """Rounds that queue behind writes."""

    def wait_for_disk(self) -> bool:
        """They do."""
        return True


ABLATION = Ablation(
    HeartbeatBehindTheDisk,
    removes="A heartbeat waits for no write.",
    breaks="A slow disk costs an election.",
    nemesis="disk",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    random=False,
    real=False,
)
