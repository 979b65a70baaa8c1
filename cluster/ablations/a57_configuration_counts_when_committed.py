"""A57: a configuration counts from the moment at which a node knows that it is committed.

What is committed a node learns from its leader, and forgets when it restarts: the mark is not
durable. So it goes back to the voters of long ago, while the others go by the newest.

Source: Raft paper 6 ("a server always uses the latest configuration in its log, regardless of
whether the entry is committed"). etcd goes by what is applied, and has to make that durable.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.consensus.membership import Configuration, Membership


class ConfigurationCountsWhenCommitted(Membership):
    """A membership that follows the mark."""

    def electorate(self, mark: int) -> Configuration:
        """The newest one that this node knows to be committed."""
        return self.at(mark)


ABLATION = Ablation(
    ConfigurationCountsWhenCommitted,
    removes="A configuration counts from the moment it is in the log.",
    breaks="After a restart the voters of the past elect a leader, who lacks acknowledged writes.",
    nemesis="membership,kill,partition",
    checker=BY_INVARIANTS,
    anomaly="leader-completeness",
    pattern="majority_quorum",
    random=False,
    real=False,
)
