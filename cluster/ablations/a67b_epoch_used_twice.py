"""A67b: a Zab leader that leads again goes on in the epoch it led before.

What it had proposed and lost in a crash is on a follower still. Its new entries get the same zxids,
and the follower takes its old entry for the new one.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.ablations.registry import Ablation
from cluster.consensus.zab_discovery import Discovery


class EpochUsedTwice(Discovery):
    """An epoch that is not above all others if this node led it before."""

    def next_epoch(self, accepted: Iterable[int], led: int) -> int:
        """The last epoch again, if it was this node's."""
        last = max(accepted)
        return last if led and led == last else last + 1


ABLATION = Ablation(
    EpochUsedTwice,
    removes="A Zab leader chooses an epoch above all that it has led before.",
    breaks="Two writes have one zxid, and a reader sees now the one and now the other.",
    nemesis="kill,partition",
    consensus="zab",
    pattern="generation_clock",
    random=False,
    real=False,
)
