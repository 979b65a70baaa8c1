"""A11c: a hint counts towards the quorum of a write.

A node that keeps a hint is no replica: no read asks it. A quorum with hints in it is sloppy, and
the next read quorum may be made of the very replicas that the write never reached.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.leaderless.hinted_handoff import HintedHandoff


class HintsCount(HintedHandoff):
    """Hints as good as replicas."""

    def counts(self) -> bool:
        """They do."""
        return True


ABLATION = Ablation(
    HintsCount,
    role="leaderless",
    pattern="majority_quorum",
    removes="A hint that another node keeps for a replica does not count towards a write's quorum.",
    breaks="The replicas' side of a partition does not know an acknowledged write.",
    nemesis="partition",
    workload="siblings",
    checker="siblings",
    anomaly="stale",
    real=False,
)
