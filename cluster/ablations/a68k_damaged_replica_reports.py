"""A68k: a replica that has lost a part of its log reports it to the next view as all that it had.

A view begins with the best log that a quorum reports. An entry that was committed is in one of
those logs only if each replica still has what it acknowledged.

Source: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), 4.2 and 4.3; Alagappan and
others, "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018).
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.damage_repair import DamageRepair


class ReportsWhileDamaged(DamageRepair):
    """Replica whose disk may forget, and that makes no difference."""

    def takes_part(self) -> bool:
        """The log that is left is as good as any."""
        return True


ABLATION = Ablation(
    ReportsWhileDamaged,
    removes="A replica with a damaged log reports to no view until it has that log again.",
    breaks="Acknowledged writes are gone after one log was damaged.",
    nemesis="disk-lost-tail,partition",
    real=False,
    consensus="viewstamped",
    pattern="write_ahead_log",
)
