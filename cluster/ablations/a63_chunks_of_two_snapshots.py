"""A63: a follower puts chunks together without looking from which snapshot they are.

A snapshot is the state at an index. Where a chunk of an older one, sent again by the network, takes
a place in the middle of a newer one, the index is the newer one's and the state is neither's: some
keys are of the past, and sessions have forgotten what they answered.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.install_snapshot import SnapshotName, Snapshots


class ChunksOfTwoSnapshots(Snapshots):
    """Snapshots whose chunks are told apart by their offsets alone."""

    def is_same(self, arriving: SnapshotName, chunk: SnapshotName) -> bool:
        """It fits."""
        return True


ABLATION = Ablation(
    ChunksOfTwoSnapshots,
    removes="A snapshot is put together of chunks of the same leader and index.",
    breaks="A node that caught up serves values that were overwritten long ago.",
    nemesis="packets,disk-lost-tail",
    pattern="replicated_log",
    random=False,
    real=False,
)
