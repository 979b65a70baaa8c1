"""A59: a node that hears its leader votes for another candidate all the same.

A node that was removed, and does not know it, hears no leader any more. It stands in one generation
after another, and every one of them deposes the leader of those that are left.

PreVote alone would make it harmless, too: it lacks entries, and no node would promise it a
vote. So the schedule runs with ``prevote=false``, in both systems.

Source: Raft paper 6 ("servers disregard RequestVote RPCs when they believe a current leader
exists"); Ongaro's Raft thesis, 4.2.3.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.consensus.election import Election


class VotesAgainstALiveLeader(Election):
    """Elections in which each candidate is heard."""

    def protects_leader(self, now_ns: int, *, leads: bool) -> bool:
        """False: every candidate is answered."""
        return False


ABLATION = Ablation(
    VotesAgainstALiveLeader,
    removes="A node that heard its leader a moment ago refuses candidates.",
    breaks="A removed node that runs on deposes one healthy leader after another.",
    nemesis="membership,partition",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    pattern="leader_and_followers",
    random=False,
    real=False,
)
