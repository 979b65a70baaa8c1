"""A62: a snapshot is taken that is behind what the node has.

A chunk that was delayed, or sent twice, arrives when the follower is further. Taking it would move
the state back; the node notices, and stops.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.consensus.install_snapshot import Snapshots


class OldSnapshotIsTaken(Snapshots):
    """A node for which every snapshot is news."""

    def accepts_snapshot(self, index: int, mark: int) -> bool:
        """It is."""
        return True


ABLATION = Ablation(
    OldSnapshotIsTaken,
    removes="A snapshot at or below the high-water mark is not taken.",
    breaks="A node's state would go back in time; it stops itself.",
    nemesis="packets",
    checker=BY_INVARIANTS,
    anomaly="core-raised",
    pattern="replicated_log",
    real=False,
)
