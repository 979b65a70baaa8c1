"""A41: a write takes the place of another transaction's intent.

Both transactions are voted for. When the first one commits, its intent is not there any more.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.partition_store import Intent
from cluster.data.two_phase_commit import Participant


class IntentsDoNotBlock(Participant):
    """A group in which the last writer has the key."""

    def intents_block(self, mine: str, intent: Intent) -> bool:
        """False: the transaction that prepares last has the key."""
        return False


ABLATION = Ablation(
    IntentsDoNotBlock,
    role="data",
    removes="An intent keeps other transactions from writing its key.",
    breaks="One of two concurrent appends is acknowledged and lost.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
