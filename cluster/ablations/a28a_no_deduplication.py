"""A28a: a repeated request is carried out again.

A client whose answer is lost sends its request again, as it must, under the same number. Without
the receiver's memory the second copy happens too: a write that others have overwritten comes back,
an append is there twice, a counter overshoots.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.core.session import Session


class NoDeduplication(IdempotentReceiver):
    """A receiver that recognises nothing."""

    def is_duplicate(self, session: Session, seq: int) -> bool:
        """Every request is the first of its kind."""
        return False


ABLATION = Ablation(
    NoDeduplication,
    removes="A request that was applied already is recognised, and not applied again.",
    breaks="A retried write happens twice: overwritten values come back, appends are doubled.",
    nemesis="partition,kill",
)
