"""A14a: the mark is what the leader itself has durable.

Entries are applied, answered and read as soon as one disk has them. A leader with a minority goes
on alone, and everything it acknowledged there is cut when it comes back.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.membership import Configuration
from cluster.consensus.replication import Replication


class CommitWithoutQuorum(Replication):
    """Replication that waits for no follower."""

    def quorum_index(self, electorate: Configuration, *, durable_index: int) -> int:
        """What this node has."""
        return durable_index


ABLATION = Ablation(
    CommitWithoutQuorum,
    removes="Only what a quorum has durable is committed.",
    breaks="A leader that is cut off acknowledges writes that are lost.",
    nemesis="partition",
    pattern="high_water_mark",
)
