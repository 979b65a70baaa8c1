"""A08c: a watch that asks for changes below the compacted revision is told what is left of them.

The changes that were dropped are missing, and nothing tells the watcher so.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.versioned_value import VersionedValues


class WatchBelowTheCompactedRevision(VersionedValues):
    """Versions that never say that some of them are gone."""

    def may_resume(self, after: int) -> bool:
        """From anywhere."""
        return True


ABLATION = Ablation(
    WatchBelowTheCompactedRevision,
    removes="Changes are listed only from a revision above which all of them are kept.",
    breaks="A watcher that was away too long misses changes and does not notice.",
    nemesis="partition",
    workload="watch",
    checker="watch",
    anomaly="gap",
    random=False,
    real=False,
)
