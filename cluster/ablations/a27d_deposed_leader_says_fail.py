"""A27d: a deposed leader answers that what it had in its log did not happen.

The entry is in logs, perhaps in that of the next leader, which commits it. Only ``unknown`` is
true.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.channel.request_waiting_list import RequestWaitingList


class DeposedLeaderSaysFail(RequestWaitingList):
    """A waiting list that is sure."""

    def outcome_when_lost(self) -> str:
        """It did not happen."""
        return "fail"


ABLATION = Ablation(
    DeposedLeaderSaysFail,
    removes="When leadership is lost the outcome of what waits is unknown.",
    breaks="A write that was refused is read.",
    nemesis="partition",
)
