"""A67h: a Zab leader sends a follower entries of its epoch before that has adopted the history.

The follower's copy counts. But its current epoch is the former one, so in the next election it
loses to a node that adopted the history and has not the entry.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.zab_synchronisation import Synchronisation
from cluster.ports import NodeId


class ProposalsBeforeAdoption(Synchronisation):
    """Followers that take proposals while they are brought in line."""

    def takes_proposals(self, node: NodeId) -> bool:
        """Every follower does."""
        return True


ABLATION = Ablation(
    ProposalsBeforeAdoption,
    removes=(
        "A Zab follower gets entries of an epoch only after it has adopted the epoch's history."
    ),
    breaks="An acknowledged write is lost in the next election.",
    nemesis="partition,kill",
    consensus="zab",
    pattern="leader_and_followers",
    random=False,
    real=False,
)
