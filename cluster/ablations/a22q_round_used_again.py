"""A22q: a proposer's rounds are not reserved, so that one that restarts uses a ballot again.

What its own acceptor promised is lost with it; what others were asked under that ballot is not. The
second attempt of the ballot is taken for a copy of the first: acknowledged, and not carried out.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.paxos import BallotClock


class RoundUsedAgain(BallotClock):
    """A clock that remembers nothing across a restart."""

    def must_reserve(self) -> bool:
        """Any round may be used."""
        return False


ABLATION = Ablation(
    RoundUsedAgain,
    role="paxos",
    removes="The rounds of a proposer are reserved durably before they are used.",
    breaks="An acknowledged write is gone: its ballot was taken for an older copy.",
    nemesis="kill",
    random=False,
    real=False,
)
