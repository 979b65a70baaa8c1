"""A26c: a transaction that fails keeps the changes it made before the operation that failed.

The client is told that nothing happened, and others see half of it.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.transactions import Transactions


class HalfATransactionStays(Transactions):
    """Transactions that undo nothing."""

    def give_up(self) -> None:
        """Keep what was done."""
        self._keys.values.commit()


ABLATION = Ablation(
    HalfATransactionStays,
    removes="A transaction of which one operation fails changes nothing.",
    breaks="A transaction that failed is seen by others, in part.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G1a",
    random=False,
    real=False,
)
