"""A28a: a repeated request is carried out again.

A client whose answer is lost sends its request again, as it must, under the same number. Without
the receiver's memory the second copy happens too: a write that others have overwritten comes back,
an append is there twice, a counter overshoots. See ``cluster.channel.idempotent_receiver``.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.session import Session


class NoDeduplication:
    """Overrides of :class:`cluster.channel.idempotent_receiver.IdempotentReceiver`."""

    def is_duplicate(self, session: Session, seq: int) -> bool:
        """Every request is the first of its kind."""
        return False


ABLATION = Ablation(
    id="A28a",
    slug="no-deduplication",
    pattern="idempotent_receiver",
    removes="A request that was applied already is not recognised.",
    breaks="A retried write happens twice: overwritten values come back, appends are doubled.",
    target="cluster.channel.idempotent_receiver:IdempotentReceiver",
    decision="is_duplicate",
    override=NoDeduplication,
    workload="register",
    nemesis="partition,kill",
    checker="linearizable",
    anomaly="nonlinearizable",
    schedule="A28a.txt",
    random=True,
    real=True,
)
