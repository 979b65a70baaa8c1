"""A60: a learner is counted among the voters.

A learner has little or nothing of the log. Counted, it makes the majority larger and adds no copy:
fewer deaths stop the cluster.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.consensus.membership import Configuration, Membership


class LearnersCount(Membership):
    """A membership in which every member decides."""

    def electorate(self, mark: int) -> Configuration:
        """Voters and learners alike."""
        found = self.current
        return Configuration((*found.voters, *found.learners), (), found.outgoing)


ABLATION = Ablation(
    LearnersCount,
    removes="Votes and copies of learners are not counted.",
    breaks="With a learner and a voter down nothing is served, though a majority of voters runs.",
    nemesis="kill",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    pattern="majority_quorum",
    random=False,
    real=False,
)
