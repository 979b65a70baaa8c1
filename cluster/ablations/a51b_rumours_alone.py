"""A51b: news travels as rumours alone, and whole views are never compared.

Two halves of a group that were cut off from each other take each other for dead. When the network
is whole again the dead are not pinged, and all rumours are forgotten: the halves stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.gossip.push_pull import PushPulls
from cluster.ports import NodeId


class RumoursAlone(PushPulls):
    """No anti-entropy."""

    def partner(self, present: Sequence[NodeId], node: NodeId) -> NodeId:
        """With no member."""
        return ""


ABLATION = Ablation(
    RumoursAlone,
    role="gossip",
    removes="Nodes compare their whole views now and then, with the dead too.",
    breaks="After a long partition the views of its sides never meet again.",
    nemesis="partition",
    workload="membership-convergence",
    checker="convergence",
    anomaly="diverged",
    random=True,
    real=True,
)
