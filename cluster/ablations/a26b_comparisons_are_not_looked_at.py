"""A26b: a transaction is carried out, whether its comparisons hold or not.

What the client read is old by the time its transaction is applied, and it writes over what another
has written meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.core.transactions import Transactions


class ComparisonsAreNotLookedAt(Transactions):
    """Transactions that trust their client's knowledge."""

    def holds(self, compares: Sequence[Sequence[object]]) -> bool:
        """It held when the client looked."""
        return True


ABLATION = Ablation(
    ComparisonsAreNotLookedAt,
    removes="A transaction's comparisons are made when it is applied.",
    breaks="Of two clients that change what they have read, one loses its change.",
    nemesis="none",
    workload="bank",
    checker="rw-register",
    anomaly="lost-update",
    random=False,
    real=False,
)
