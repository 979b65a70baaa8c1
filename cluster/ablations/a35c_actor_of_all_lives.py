"""A35c: an actor is the name of a node, whichever life it is in.

What a node remembers of a key that was erased and forgotten is in its memory alone. After a restart
it counts its writes of that key from one again. A node that has not forgotten the tombstone yet
knows these numbers, and takes the new write for the one that was erased.
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
    removes="A node that begins anew numbers its writes under a name that it never had.",
    breaks="An acknowledged write of such a node is taken for one that was replaced.",
    nemesis="kill",
    workload="siblings",
    checker="siblings",
    anomaly="lost",
    random=False,
    real=False,
)
