"""A03c: a node that knows that its log is damaged takes part all the same.

It detects that entries are missing which it acknowledged. It says so in its status, and asks its
peers for them. But until they come it votes like any other, by the log that it has left. So it
helps to elect a leader that lacks what it forgot, and is repaired to that leader's state.

Source: Alagappan and others, "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018);
Ongaro's Raft thesis, 11.7.2.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.damage_repair import DamageRepair


class TakesPartWhileRecovering(DamageRepair):
    """Recovery that keeps a node from nothing."""

    def takes_part(self) -> bool:
        """The log that is left is as good as any."""
        return True


ABLATION = Ablation(
    TakesPartWhileRecovering,
    pattern="write_ahead_log",
    removes="A node with a damaged log does not vote, or count, until its peers have repaired it.",
    breaks="Acknowledged writes are gone after one node's log was damaged.",
    nemesis="disk-lost-tail,partition",
    real=False,
)
