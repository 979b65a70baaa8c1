"""A43: a read passes over an intent that is not above its timestamp.

The transaction is committed, and one of its groups has not been told yet. A reader of closed
timestamps, which are not validated, sees the new balance there and the old one here.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.partition_reads import PartitionReads


class ReaderIgnoresIntents(PartitionReads):
    """Readers that are shown versions only."""

    def intents_block_reads(self, intended: int, timestamp: int) -> bool:
        """What is not committed here is not there."""
        return False


ABLATION = Ablation(
    ReaderIgnoresIntents,
    role="data",
    removes="A read waits for an intent that may belong to what it must see.",
    breaks="A read of a moment in the past sees half of a transfer, and the next one all of it.",
    nemesis="partition",
    workload="bank",
    checker="bank",
    anomaly="wrong-total",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
