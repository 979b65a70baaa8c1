"""A16: an entry of an earlier generation is committed by counting its copies.

Figure 8 of the Raft paper: an entry of an earlier generation can be on a majority and still be
overwritten, by a leader whose last entry is of a later generation. Only an entry of the leader's
own generation, once on a majority, settles what is before it.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.consensus.high_water_mark import HighWaterMark


class CommitByCountingOldEntries(HighWaterMark):
    """A mark that any entry raises which a quorum has."""

    def may_commit(self, index: int, entry_generation: int | None, generation: int) -> bool:
        """Copies are counted, generations are not looked at."""
        return index > self.index and entry_generation is not None


ABLATION = Ablation(
    CommitByCountingOldEntries,
    removes="A leader commits by counting only entries of its own generation.",
    breaks="A committed entry is overwritten by a later leader.",
    nemesis="kill",
    checker=BY_INVARIANTS,
    anomaly="leader-completeness",
    random=False,
    real=False,
)
