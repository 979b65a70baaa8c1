"""A27a: a client is answered when its entry is in the leader's log.

The entry is on one node, not even on its disk yet. A leader that is cut off goes on saying ok, and
nothing of it remains.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.channel.request_waiting_list import RequestWaitingList


class AnswerAtAppend(RequestWaitingList):
    """A waiting list on which no client waits."""

    def answers_at_append(self) -> bool:
        """At once."""
        return True


ABLATION = Ablation(
    AnswerAtAppend,
    removes="A client is answered once its entry is committed and applied.",
    breaks="A leader that is cut off acknowledges writes that are lost.",
    nemesis="partition",
)
