"""A24b: a new proposer reads before the slots that phase 1 found open are chosen.

The old proposer may have answered for them. The new one holds the values, as proposals; its state
does not have them until they are chosen again.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.read_index import ReadIndex


class ReadsBeforeOpenSlotsAreChosen(ReadIndex):
    """Reads at the present mark."""

    def mark_is_current(self, mark: int) -> bool:
        """As soon as there is one."""
        return mark > 0


ABLATION = Ablation(
    ReadsBeforeOpenSlotsAreChosen,
    removes="A new proposer serves reads only when all open slots are chosen.",
    breaks="The first reads after a change of leader miss acknowledged writes.",
    nemesis="kill",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
