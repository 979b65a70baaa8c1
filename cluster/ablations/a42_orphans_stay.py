"""A42: the intents of a coordinator that died are left to it.

It has forgotten them when it is back, and the keys stay blocked for ever.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.orphans import Orphans


class OrphansStay(Orphans):
    """Readers and writers wait for a coordinator that is gone."""

    def recovers_orphans(self) -> bool:
        """False: only its coordinator resolves an intent."""
        return False


ABLATION = Ablation(
    OrphansStay,
    role="data",
    removes="A reader or writer that meets an old intent ends its transaction.",
    breaks="After a coordinator died its keys cannot be read or written any more.",
    nemesis="kill",
    workload="bank",
    checker="liveness",
    anomaly="liveness",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
