"""A35c: an actor is the name of a node, whichever life it is in.

A node that lost its disk counts its writes from one again. Others have heard of these numbers long
ago, and take its new writes for old ones that were replaced.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.leaderless.parts import ActorIds


class NodeNames(ActorIds):
    """Actors that are nodes."""

    def actor(self, node: str, life: int) -> str:
        """The node."""
        return node


ABLATION = Ablation(
    NodeNames,
    role="leaderless",
    pattern="version_vector",
    removes="A node that lost its memory uses the numbers of its earlier writes again.",
    breaks="An acknowledged write of such a node is taken for one that was replaced.",
    nemesis="kill",
    workload="siblings",
    checker="siblings",
    anomaly="lost",
    random=False,
    real=False,
)
