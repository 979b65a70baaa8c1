"""A52: a view is agreed on by its own members, and not by a majority of the last agreed view.

Each side of a partition finds itself complete, and its oldest member acts. Both do so under the
same number, so that no resource can tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.gossip.emergent_leader import LivingMembers
from cluster.ports import NodeId
from cluster.wire import StableView


class EachSideIsAMajority(LivingMembers):
    """A leader without a majority view."""

    def voters(self, view: StableView, living: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Those who are seen to live."""
        return tuple(living)


ABLATION = Ablation(
    EachSideIsAMajority,
    role="gossip",
    removes="A next view needs a majority of the last agreed view.",
    breaks="Both sides of a partition run the singleton.",
    nemesis="partition",
    workload="emergent-leader",
    checker="lock",
    anomaly="duplicate-token",
    random=True,
    real=True,
)
