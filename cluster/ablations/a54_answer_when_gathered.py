"""A54: a client is answered when its update joins the next batch.

The batch waits for the write before it. If the leader dies meanwhile, the update is in no log, and
the client was told that it happened.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.channel.request_batch import RequestBatch


class AnswerWhenGathered(RequestBatch):
    """A batch whose clients do not wait for it."""

    def answers_when_gathered(self) -> bool:
        """At once."""
        return True


ABLATION = Ablation(
    AnswerWhenGathered,
    removes="A client of a batch is answered when its own entry is committed.",
    breaks="An acknowledged write is lost with the leader.",
    nemesis="partition,kill",
)
