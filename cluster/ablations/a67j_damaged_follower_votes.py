"""A67j: a Zab node that has lost a part of its log votes, and counts for a promise.

A leader must be at least as recent as each of the quorum that promises its epoch. A node that says
less than it once had lets a node lead that lacks what was committed, and whose history then takes
the place of everybody's.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011), section 4; Alagappan and others, "Protocol-Aware Recovery for Consensus-Based Storage" (FAST
2018).
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.damage_repair import DamageRepair


class VotesWhileDamaged(DamageRepair):
    """Follower whose disk may forget, and that makes no difference."""

    def takes_part(self) -> bool:
        """The log that is left is as good as any."""
        return True


ABLATION = Ablation(
    VotesWhileDamaged,
    removes="A damaged node neither votes nor counts for a promise until it is synchronised.",
    breaks="Acknowledged writes are gone after one log was damaged.",
    nemesis="disk-lost-tail,partition",
    real=False,
    consensus="zab",
    pattern="write_ahead_log",
)
