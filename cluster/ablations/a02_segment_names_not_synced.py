"""A02: a new segment's name is not made durable in its directory.

The bytes of a file and its name are two things, and a sync of the file is a promise about the first
only. If power is lost, everything that was written since the log began a new segment is gone with
the name.

Source: Pillai and others, "All File Systems Are Not Created Equal" (OSDI 2014).
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.log.storage import Storage


class ForgetsNames(Storage):
    """Storage that syncs files, and never their directory."""

    def syncs_names(self) -> bool:
        """Never."""
        return False


ABLATION = Ablation(
    ForgetsNames,
    removes="A segment's name is durable before anything in it is acknowledged.",
    breaks="A node that lost power misses a whole segment of what it acknowledged.",
    nemesis="kill",
    checker=BY_INVARIANTS,
    anomaly="sound-log",
    pattern="segmented_log",
    random=False,
    real=False,
)
