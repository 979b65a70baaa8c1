"""A27b: a client is answered by whatever entry is applied at its index.

A deposed leader that is elected again may apply another entry at the index for which a client
waits. The list keeps the generation beside the index for that; here it is not looked at.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.channel.request_waiting_list import RequestWaitingList


class WaitersByIndexAlone(RequestWaitingList):
    """A waiting list that knows indexes only."""

    def is_answer_for(self, waiting_generation: int, applied_generation: int) -> bool:
        """Any entry at the index is."""
        return True


ABLATION = Ablation(
    WaitersByIndexAlone,
    removes="A waiting client is answered by the entry of its own generation only.",
    breaks="A client is told ok for another client's command.",
    nemesis="partition",
    random=False,
    real=False,
)
