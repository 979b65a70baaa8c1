"""A35d: a tombstone is forgotten when it is old enough, also while a member is away.

The replica that missed the deletion still has the value. When it comes back it seems to be the only
one that knows anything of the key.
"""

from __future__ import annotations

from collections.abc import Collection

from cluster.ablations.registry import Ablation
from cluster.leaderless.tombstones import Tombstones
from cluster.ports import NodeId


class ForgottenByAge(Tombstones):
    """Tombstones that wait for a time, and for no member."""

    def may_reap(self, confirmed: Collection[NodeId], members: Collection[NodeId]) -> bool:
        """True: what is asked about is old enough."""
        return True


ABLATION = Ablation(
    ForgottenByAge,
    role="leaderless",
    pattern="version_vector",
    removes="A tombstone is kept until every member has seen it.",
    breaks="A value that was deleted comes back with the replica that was away.",
    nemesis="kill",
    workload="siblings",
    checker="siblings",
    anomaly="resurrected",
    random=False,
    real=False,
)
