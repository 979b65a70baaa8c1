"""A31: a new leader reads before an entry of its own generation is committed.

A new leader has every committed entry, and does not know which of its entries are. Its mark is that
of a follower, behind what its predecessor acknowledged.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.read_index import ReadIndex


class ReadBeforeOwnEntry(ReadIndex):
    """Reads for which any mark will do."""

    def mark_is_current(self, mark: int) -> bool:
        """It is."""
        return True


ABLATION = Ablation(
    ReadBeforeOwnEntry,
    removes="A new leader holds reads until an entry of its own is committed.",
    breaks="A new leader serves reads from before its predecessor's last writes.",
    nemesis="partition,kill",
    pattern="follower_reads",
)
