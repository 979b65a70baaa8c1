"""A58: while a change of voters is under way, a majority of the new ones is enough.

Where the new voters differ from the old by more than one, a majority of each need not share a node.
Nodes that have not heard of the change elect a leader among the old ones; the others go on without
them.

Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), 6.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.membership import Configuration, Membership


class OnlyTheNewMajority(Membership):
    """A membership for which a change is done when it begins."""

    def electorate(self, mark: int) -> Configuration:
        """The incoming voters alone."""
        return Configuration(self.current.voters, self.current.learners)


ABLATION = Ablation(
    OnlyTheNewMajority,
    removes="In a joint configuration a decision needs a majority of the old voters, too.",
    breaks="Old and new voters each have a leader: acknowledged writes are gone.",
    nemesis="membership,partition",
    pattern="majority_quorum",
    random=False,
    real=False,
)
