"""A09: a node that stands for election leads without a majority of votes.

So a generation has several leaders, and each of them assigns indexes. Two of them give
the same index and generation to different entries. No follower can tell these apart, so each keeps
the one it was sent first, and acknowledges both.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.election import Election
from cluster.consensus.membership import Configuration


class CandidatesLeadUnelected(Election):
    """An election that every candidate wins."""

    def outcome(self, electorate: Configuration) -> bool | None:
        """Won, as soon as it is looked at."""
        return True


ABLATION = Ablation(
    CandidatesLeadUnelected,
    removes="A candidate leads only after a majority has given it the generation's one vote.",
    breaks="Two nodes assign the same indexes: both acknowledge, and each reads its own writes.",
    nemesis="partition",
    pattern="leader_and_followers",
)
