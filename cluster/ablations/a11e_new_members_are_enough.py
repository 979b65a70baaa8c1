"""A11e: while members change, a quorum of the members to come is enough.

They have not fetched yet what the members before hold, and a quorum of theirs need not meet a
quorum of the ring before. What was acknowledged under that one is missed.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.leaderless.ring import Ring
from cluster.ports import NodeId


class NewMembersAreEnough(Ring):
    """A joint ring that asks one set of members only."""

    def deciding(self) -> tuple[tuple[NodeId, ...], ...]:
        """The members to come."""
        return (self.view.members,)


ABLATION = Ablation(
    NewMembersAreEnough,
    role="leaderless",
    pattern="majority_quorum",
    removes="While members change, a quorum of those before is needed too.",
    breaks="An acknowledged element is missing from a read.",
    nemesis="membership",
    workload="siblings",
    checker="siblings",
    anomaly="stale",
    real=False,
)
