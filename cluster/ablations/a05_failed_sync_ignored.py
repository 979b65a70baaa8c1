"""A05: a sync that failed is ignored, and the next one counts.

After a failed fsync the kernel may have dropped the very pages that it could not write. A later
fsync has nothing to say about them, and succeeds.

Source: "PostgreSQL's fsync() surprise" (2018); Rebello and others, "Can Applications Recover from
fsync Failures?" (USENIX ATC 2020).
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.log.storage import Storage
from cluster.ports import DiskError


class GoesOnAfterFailedSync(Storage):
    """Storage for which a failed sync is a slow one."""

    def ends_with(self, error: DiskError) -> bool:
        """Never."""
        return False


ABLATION = Ablation(
    GoesOnAfterFailedSync,
    removes="A node stops when a sync of its log fails.",
    breaks="Acknowledged writes are gone after a single error of a disk and a loss of power.",
    nemesis="disk,kill",
    pattern="write_ahead_log",
    random=False,
    real=False,
)
