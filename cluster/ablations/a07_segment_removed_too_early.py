"""A07: the segment that holds the first entry still wanted is removed.

Segments are removed whole, so the mark and the boundary must be compared without a mistake. One too
many, and the entry right above the snapshot is gone: the log no longer follows from it.

Source: Joshi, "Low-Water Mark" and "Segmented Log".
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.log.low_water_mark import segments_below
from cluster.log.storage import Storage


class RemovesOneTooMany(Storage):
    """Storage that takes the entry at the mark for one below it."""

    def removable(self, bases: Sequence[int], keep_from: int) -> int:
        """Off by one."""
        return segments_below(bases, keep_from + 1)


ABLATION = Ablation(
    RemovesOneTooMany,
    removes="Of segments only those go that hold nothing at or above the low-water mark.",
    breaks="After a restart the snapshot does not reach the log: what was acknowledged is gone.",
    nemesis="kill",
    checker=BY_INVARIANTS,
    anomaly="sound-log",
    pattern="segmented_log",
    random=False,
    real=False,
)
