"""A08b: a follower that needs entries which the leader has removed is sent nothing.

The low-water mark lets the log go on the assumption that a snapshot takes its place: on this node's
disk, and for every other node as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.consensus.replication import Replication
from cluster.ports import NodeId, Send
from cluster.wire import Snapshot


class NoSnapshotIsSent(Replication):
    """Replication of what is in the log, and of nothing else."""

    def send_snapshot(self, peer: NodeId, snapshot: Snapshot | None, now_ns: int) -> Sequence[Send]:
        """What it needs is gone."""
        return ()


ABLATION = Ablation(
    NoSnapshotIsSent,
    removes="A follower that needs entries which are gone is sent the snapshot.",
    breaks="A node that was away for long never has the state again; one death more stops all.",
    nemesis="membership",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    pattern="low_water_mark",
    real=False,
)
