"""A17: a follower is told a mark beyond what its log shares with the leader's.

A heartbeat carries the leader's mark and no entries. A follower that was the leader of an earlier
generation still has entries of its own at those indexes; it takes them for committed, applies and
serves them.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.high_water_mark import HighWaterMark


class MarkBeyondWhatIsShared(HighWaterMark):
    """A mark that is told whole."""

    def shared_with(self, match: int) -> int:
        """The whole mark, also beyond what the follower shares."""
        return self.index


ABLATION = Ablation(
    MarkBeyondWhatIsShared,
    removes="A follower hears of the mark only as far as its log equals the leader's.",
    breaks="A deposed leader applies and serves entries that were never committed.",
    nemesis="partition",
    real=False,
)
