"""A20e: an acceptor that has lost what it accepted goes on promising.

It knows that its disk is damaged. It answers a proposer all the same, with what is left, as if it
had never accepted anything else. So a majority of promises no longer tells of every chosen value,
and a proposer puts another one into the slot.

Source: Lamport, "Paxos Made Simple" (2001), 2.2 and 2.4 (an acceptor must remember what it has
accepted); Alagappan and others, "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018).
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.damage_repair import DamageRepair


class PromisesWhileDamaged(DamageRepair):
    """Acceptor whose disk may forget, and that makes no difference."""

    def takes_part(self) -> bool:
        """What is left is all that there was."""
        return True


ABLATION = Ablation(
    PromisesWhileDamaged,
    removes="A damaged acceptor promises nothing before it has accepted again what it lost.",
    breaks="A slot gets a second value: acknowledged writes are gone after one disk was damaged.",
    nemesis="disk-lost-tail,partition",
    real=False,
    consensus="multi-paxos",
    pattern="write_ahead_log",
)
