"""A28b: a repeated request is recognised when it comes in, and not when it is applied.

The leader looks at what it has applied. A second copy that comes in before the first is applied, at
the next leader say, is not recognised there, and is not looked for again.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.core.session import Session


class DeduplicationAtTheDoorOnly(IdempotentReceiver):
    """A receiver that applies every entry of the log."""

    def was_applied(self, session: Session, seq: int) -> bool:
        """False: only an arriving request is compared with what was applied."""
        return False


ABLATION = Ablation(
    DeduplicationAtTheDoorOnly,
    removes="Every node looks for a copy again when it applies an entry.",
    breaks="A write retried at the next leader happens twice.",
    nemesis="partition,kill",
    workload="append",
    real=False,
)
