"""A55: a session's numbered writes are applied in any order.

A client that has several writes under way loses one, and sends it again. Its successors are applied
by then.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.core.session import Session


class NumbersOvertake(IdempotentReceiver):
    """A receiver that recognises copies, and no gaps."""

    def follows(self, session: Session, seq: int) -> bool:
        """Any number will do."""
        return True


ABLATION = Ablation(
    NumbersOvertake,
    removes="A session's write is applied only after all before it.",
    breaks="Writes of one client that were sent in order are in the log in another order.",
    nemesis="packets",
    workload="append",
    checker="log",
    anomaly="int-nonmonotonic-send",
    pattern="request_pipeline",
    random=False,
    real=False,
)
