"""A34e: a read at a revision that is not reached is answered with what is there now.

What a reader of several keys sees at that revision depends on when each of its reads came.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.versioned_value import VersionedValues


class ReadOfARevisionNotReached(VersionedValues):
    """Versions that answer reads of the future with the present."""

    def is_reached(self, revision: int) -> bool:
        """The newest versions are as good as any."""
        return True


ABLATION = Ablation(
    ReadOfARevisionNotReached,
    removes="A read at a revision is refused until all changes up to it are here.",
    breaks="A reader of several keys at one revision sees half of a change.",
    nemesis="none",
    workload="rw-register",
    checker="rw-register",
    anomaly="G-single-item",
    random=False,
    real=False,
)
