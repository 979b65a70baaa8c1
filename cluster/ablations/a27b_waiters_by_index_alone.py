"""A27b: the entry that a client waits for is named by its index alone.

Any entry at that index is the client's, and none is known to be of a leadership that was lost. So
waiters outlive it. The next leader puts another client's command at the index; when that is
applied, the waiter is told ok, and its own command is in no log.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.channel.request_waiting_list import RequestWaitingList


class WaitersByIndexAlone(RequestWaitingList):
    """A waiting list whose names of entries have no generation."""

    def named_generation(self, generation: int) -> int:
        """None; 0 is the generation of no entry."""
        return 0


ABLATION = Ablation(
    WaitersByIndexAlone,
    removes="A client waits for an entry of one index and one generation.",
    breaks="A deposed leader acknowledges a write that is lost, for another took its index.",
    nemesis="partition",
    real=False,
)
