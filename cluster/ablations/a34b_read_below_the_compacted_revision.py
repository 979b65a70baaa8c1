"""A34b: a read at a revision below the compacted one is answered with the versions that are left.

A key that has changed since is taken for absent, since its version of then is dropped; a key that
has not is still there.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.versioned_value import VersionedValues


class ReadBelowTheCompactedRevision(VersionedValues):
    """Versions that answer reads at any revision."""

    def may_read(self, revision: int) -> bool:
        """There is always something to see."""
        return True


ABLATION = Ablation(
    ReadBelowTheCompactedRevision,
    removes="A read at a revision is refused once versions visible there are dropped.",
    breaks="A slow reader of several keys finds one of them absent.",
    nemesis="none",
    workload="rw-register",
    checker="rw-register",
    anomaly="G-single-item",
    random=False,
    real=False,
)
