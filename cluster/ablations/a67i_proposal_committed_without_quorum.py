"""A67i: a Zab leader sends COMMIT as soon as a proposal is durable in its own log.

The leader does not wait for a quorum; what only it has is acknowledged, and lost with it.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.membership import Configuration
from cluster.consensus.replication import Replication


class CommitWithoutQuorum(Replication):
    """A leader whose own copy is enough."""

    def quorum_index(self, electorate: Configuration, *, durable_index: int) -> int:
        """What the leader has."""
        return durable_index


ABLATION = Ablation(
    CommitWithoutQuorum,
    removes="A Zab leader commits a proposal only with a quorum's acknowledgements.",
    breaks="A write acknowledged by a leader that is cut off is lost.",
    nemesis="partition",
    consensus="zab",
    pattern="majority_quorum",
    random=False,
    real=False,
)
