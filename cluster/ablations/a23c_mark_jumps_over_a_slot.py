"""A23c: the leader's high-water mark is the last chosen slot, also above slots that are not chosen.

Each slot is decided by itself, so a later one may be chosen first. Executing it first, or executing
the one below because the mark is above, answers for something that may yet be lost.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.membership import Configuration
from cluster.consensus.phase_two import PhaseTwo


class MarkJumpsOverASlot(PhaseTwo):
    """A phase 2 that looks at the last slot only."""

    def chosen_up_to(self, electorate: Configuration, *, durable_index: int) -> int:
        """The highest chosen slot, also above slots that are not."""
        self._accepted[self._node] = durable_index
        last = self._log.last_index
        return next((n for n in range(last, 0, -1) if self.is_chosen(n, electorate)), 0)


ABLATION = Ablation(
    MarkJumpsOverASlot,
    removes="The high-water mark stops below the first slot that is not chosen.",
    breaks="A write is acknowledged that only its leader has, and is lost with it.",
    nemesis="partition",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
